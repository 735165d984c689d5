// SPDX-License-Identifier: GPL-2.0
/* sendmsg: requests and replies. */
#include <linux/sched/signal.h>
#include <linux/uaccess.h>

#include "homa_impl.h"

/* So much goes in one packet wherever it goes: IPv4 has 552 bytes at least. */
#define HOMA_SEGMENT_LEAST 400

/* Where a message goes. */
struct homa_target {
	struct in6_addr peer;
	u32 scope;
	u16 port;
};

static int homa_target_v4(const struct msghdr *msg, struct homa_target *target)
{
	const struct sockaddr_in *sin = msg->msg_name;
	__be32 addr = sin->sin_addr.s_addr;

	if (msg->msg_namelen < sizeof(*sin))
		return -EINVAL;
	/* As UDP: no address is this host. */
	ipv6_addr_set_v4mapped(addr ?: htonl(INADDR_LOOPBACK), &target->peer);
	target->port = ntohs(sin->sin_port);
	return 0;
}

static int homa_target_v6(const struct msghdr *msg, const struct sock *sk,
			  struct homa_target *target)
{
	const struct sockaddr_in6 *sin6 = msg->msg_name;

	if (msg->msg_namelen < SIN6_LEN_RFC2133)
		return -EINVAL;
	target->peer = sin6->sin6_addr;
	target->port = ntohs(sin6->sin6_port);
	if (ipv6_addr_any(&target->peer))
		target->peer = in6addr_loopback;
	if (ipv6_addr_v4mapped(&target->peer))
		return ipv6_only_sock(sk) ? -ENETUNREACH : 0;
	if (!(ipv6_addr_type(&target->peer) & IPV6_ADDR_LINKLOCAL))
		return 0;
	if (msg->msg_namelen >= sizeof(*sin6))
		target->scope = sin6->sin6_scope_id;
	if (!target->scope)
		target->scope = sk->sk_bound_dev_if;
	return target->scope ? 0 : -EINVAL;
}

static int homa_target_of(const struct msghdr *msg, const struct sock *sk,
			  struct homa_target *target)
{
	const struct sockaddr *addr = msg->msg_name;
	int err;

	memset(target, 0, sizeof(*target));
	if (!addr || msg->msg_namelen < sizeof(addr->sa_family))
		return -EINVAL;
	if (addr->sa_family != sk->sk_family)
		return -EAFNOSUPPORT;
	err = sk->sk_family == AF_INET ? homa_target_v4(msg, target) :
					 homa_target_v6(msg, sk, target);
	if (err)
		return err;
	return target->port ? 0 : -EINVAL;
}

static int homa_send_args(const struct msghdr *msg, size_t length,
			  struct homa_sendmsg_args *args)
{
	if (!msg->msg_control_is_user || !msg->msg_control_user ||
	    msg->msg_controllen)
		return -EINVAL;
	if (copy_from_user(args, msg->msg_control_user, sizeof(*args)))
		return -EFAULT;
	if (args->flags & ~HOMA_SENDMSG_VALID_FLAGS || args->reserved)
		return -EINVAL;
	if (args->id && args->completion_cookie)
		return -EINVAL;
	if (!length || length > HOMA_MAX_MESSAGE_LENGTH)
		return -EINVAL;
	return 0;
}

bool homa_sock_has_room(struct homa_sock *hs)
{
	return atomic_read(&hs->wmem) < READ_ONCE(homa_sock_sk(hs)->sk_sndbuf);
}

/* Waits until the socket's messages leave room for another. */
static int homa_wait_for_room(struct homa_sock *hs, bool nonblocking)
{
	struct sock *sk = homa_sock_sk(hs);
	long timeout = sock_sndtimeo(sk, nonblocking);
	DEFINE_WAIT(wait);
	int err = 0;

	if (homa_sock_has_room(hs))
		return 0;
	for (;;) {
		prepare_to_wait(sk_sleep(sk), &wait, TASK_INTERRUPTIBLE);
		WRITE_ONCE(hs->starved, true);
		/* Pairs with homa_message_put(). */
		smp_mb();
		if (homa_sock_has_room(hs))
			break;
		if (READ_ONCE(hs->shut))
			err = -ESHUTDOWN;
		else if (!timeout)
			err = -EAGAIN;
		else if (signal_pending(current))
			err = sock_intr_errno(timeout);
		if (err)
			break;
		timeout = schedule_timeout(timeout);
	}
	finish_wait(sk_sleep(sk), &wait);
	return err;
}

static void homa_path_to(const struct homa_sock *hs,
			 const struct homa_target *target,
			 struct homa_core_path *path)
{
	*path = (struct homa_core_path) {
		.peer = target->peer,
		.scope = target->scope,
		.peer_port = target->port,
		.socket = hs->index,
	};
}

/* Gives the request to the core, which then has @rpc. Under the lock. */
static int homa_call(struct homa_rpc *rpc, const struct homa_target *target,
		     u32 segment)
{
	struct homa_sock *hs = rpc->sock;
	struct homa_core *core = hs->engine->core;
	struct homa_core_path path;
	struct homa_core_ask ask;
	u64 key, id;
	int err;

	homa_path_to(hs, target, &path);
	homa_engine_ask(hs->engine, &ask);
	err = homa_core_call(core, &ask, &path, rpc->out->length, segment, &key,
			     &id);
	if (err)
		return err;
	err = homa_rpc_attach(rpc, key);
	if (err) {
		homa_core_abort(core, ask.now, key);
		/* It has something to say about that. */
		ask.turn->more = 1;
		return err;
	}
	homa_rpc_name(rpc, id);
	return 0;
}

/* The id could not be told: as if the request had never been made. */
static void homa_forget(struct homa_sock *hs, u64 id)
{
	struct homa_turn turn;
	struct homa_rpc *rpc;

	homa_turn_init(&turn);
	homa_sock_lock(hs);
	rpc = homa_rpc_find(hs, id, NULL, 0);
	if (rpc) {
		homa_core_abort(hs->engine->core, ktime_get_ns(), rpc->key);
		homa_rpc_kill(rpc, &turn);
	}
	homa_engine_settle(hs->engine, &turn);
}

static int homa_send_request(struct homa_sock *hs,
			     const struct homa_target *target,
			     struct homa_message *message,
			     struct homa_sendmsg_args *args,
			     void __user *control)
{
	struct homa_turn turn;
	struct homa_rpc *rpc;
	u32 segment;
	int err;

	segment = homa_segment_bytes(hs, &target->peer, target->scope,
				     target->port, &err);
	if (err)
		return err;
	rpc = homa_rpc_create(hs, GFP_KERNEL);
	if (!rpc)
		return -ENOMEM;
	refcount_inc(&message->refs);
	rpc->out = message;
	rpc->cookie = args->completion_cookie;
	rpc->private = args->flags & HOMA_SENDMSG_PRIVATE;
	rpc->peer = target->peer;
	rpc->scope = target->scope;
	rpc->port = target->port;

	homa_turn_init(&turn);
	homa_sock_lock(hs);
	if (hs->shut) {
		err = -ESHUTDOWN;
		homa_engine_unlock(hs->engine, &turn);
	} else {
		err = homa_call(rpc, target, segment);
		args->id = rpc->id;
		homa_engine_finish(hs->engine, &turn);
	}
	if (err) {
		homa_rpc_put(rpc);
		return err;
	}
	if (copy_to_user(control, args, sizeof(*args))) {
		homa_forget(hs, args->id);
		return -EFAULT;
	}
	return 0;
}

/*
 * The RPC that is replied to; NULL and an errno without one, or 0 where its
 * client has gone: as if the reply had been sent and lost. Under the lock.
 */
static struct homa_rpc *homa_served(struct homa_sock *hs, u64 id,
				    const struct homa_target *target,
				    int *error)
{
	struct homa_rpc *rpc;

	*error = hs->shut ? -ESHUTDOWN : 0;
	if (hs->shut)
		return NULL;
	rpc = homa_rpc_find(hs, id, &target->peer, target->port);
	if (!rpc || rpc->state == HOMA_RPC_SERVICE)
		return rpc;
	*error = -EINVAL;
	return NULL;
}

/* Gives the reply to the core; under the lock. */
static int homa_reply(struct homa_rpc *rpc, struct homa_message *message,
		      u32 segment)
{
	struct homa_engine *engine = rpc->sock->engine;
	struct homa_core_ask ask;
	int err;

	homa_engine_ask(engine, &ask);
	err = homa_core_reply(engine->core, &ask, rpc->key, message->length,
			      segment);
	if (err)
		return err == -ENOENT ? 0 : err;
	refcount_inc(&message->refs);
	rpc->out = message;
	rpc->state = HOMA_RPC_UNDER_WAY;
	return 0;
}

static int homa_send_reply(struct homa_sock *hs, u64 id,
			   const struct homa_target *target,
			   struct homa_message *message)
{
	u32 segment = HOMA_SEGMENT_LEAST;
	struct homa_turn turn;
	struct homa_rpc *rpc;
	int err;

	if (message->length > segment) {
		segment = homa_segment_bytes(hs, &target->peer, target->scope,
					     target->port, &err);
		if (err)
			return err;
	}
	homa_turn_init(&turn);
	homa_sock_lock(hs);
	rpc = homa_served(hs, id, target, &err);
	if (!rpc) {
		homa_engine_unlock(hs->engine, &turn);
		return err;
	}
	err = homa_reply(rpc, message, segment);
	homa_engine_finish(hs->engine, &turn);
	return err;
}

/* 0: the message is on its way. */
int homa_sendmsg(struct sock *sk, struct msghdr *msg, size_t length)
{
	struct homa_sock *hs = homa_sk(sk);
	void __user *control = msg->msg_control_user;
	struct homa_sendmsg_args args;
	struct homa_message *message;
	struct homa_target target;
	int err;

	if (msg->msg_flags & MSG_OOB)
		return -EOPNOTSUPP;
	err = homa_send_args(msg, length, &args);
	if (err)
		return err;
	err = homa_target_of(msg, sk, &target);
	if (err)
		return err;
	if (READ_ONCE(hs->shut))
		return -ESHUTDOWN;
	err = homa_wait_for_room(hs, msg->msg_flags & MSG_DONTWAIT);
	if (err)
		return err;
	message = homa_message_copy(hs, msg, length);
	if (IS_ERR(message))
		return PTR_ERR(message);
	if (args.id)
		err = homa_send_reply(hs, args.id, &target, message);
	else
		err = homa_send_request(hs, &target, message, &args, control);
	homa_message_put(message);
	return err;
}
