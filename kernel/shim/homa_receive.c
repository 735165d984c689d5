// SPDX-License-Identifier: GPL-2.0
/* recvmsg: requests, responses, and RPCs that failed. */
#include <linux/sched/signal.h>
#include <linux/uaccess.h>
#include <linux/uio.h>

#include "homa_impl.h"

/* So many bytes are given back at once, unless the core is called before. */
#define HOMA_GIVE_BACK_MAX (1 << 18)

/**
 * struct homa_taken - what recvmsg found
 * @rpc:     with a reference; NULL: nothing yet
 * @packets: of the message
 * @length:  bytes of the message
 * @error:   how the RPC failed
 */
struct homa_taken {
	struct homa_rpc *rpc;
	struct sk_buff_head packets;
	u32 length;
	int error;
};

/*
 * Takes an RPC that is ready, if its message finds room. That of a client is
 * over with it. Under the lock.
 */
static bool homa_take(struct homa_rpc *rpc, struct homa_recvmsg_args *args,
		      struct homa_taken *taken, struct homa_turn *turn)
{
	if (!rpc->error && !homa_pool_take(&rpc->sock->pool, rpc->rx_length,
					   args->bpage_offsets,
					   &args->num_bpages))
		return false;
	homa_rpc_hold(rpc);
	taken->rpc = rpc;
	taken->error = rpc->error;
	taken->length = rpc->rx_length;
	skb_queue_splice_tail_init(&rpc->rx, &taken->packets);
	rpc->sock->engine->given_back += rpc->rx_length;
	homa_rpc_uncharge(rpc);
	rpc->state = HOMA_RPC_TAKEN;
	list_del_init(&rpc->in_ready);
	if (homa_is_client(rpc->id))
		homa_rpc_kill(rpc, turn);
	return true;
}

/* The first message that is not private and has room. Under the lock. */
static int homa_take_shared(struct homa_sock *hs,
			    struct homa_recvmsg_args *args,
			    struct homa_taken *taken, struct homa_turn *turn)
{
	struct homa_rpc *rpc;

	if (hs->shut)
		return -ESHUTDOWN;
	list_for_each_entry(rpc, &hs->ready, in_ready)
		if (homa_take(rpc, args, taken, turn))
			return 0;
	return -EAGAIN;
}

/* A private RPC, for which only one thread may wait. Under the lock. */
static int homa_take_private(struct homa_sock *hs, struct homa_rpc *rpc,
			     struct homa_recvmsg_args *args,
			     struct homa_taken *taken, struct homa_turn *turn)
{
	if (hs->shut)
		return -ESHUTDOWN;
	if (rpc->state == HOMA_RPC_DEAD)
		return -EINVAL;
	if (rpc->state == HOMA_RPC_READY && homa_take(rpc, args, taken, turn))
		return 0;
	return -EAGAIN;
}

/* Whether a look at the socket could find something, without the lock. */
static bool homa_may_find(struct homa_sock *hs)
{
	return !list_empty_careful(&hs->ready) || READ_ONCE(hs->shut) ||
	       READ_ONCE(READ_ONCE(hs->engine)->given_up);
}

/* Looks once; -EAGAIN: nothing there. */
static int homa_look(struct homa_sock *hs, struct homa_rpc *private,
		     struct homa_recvmsg_args *args, struct homa_taken *taken)
{
	struct homa_turn turn;
	int err;

	if (!private && !homa_may_find(hs))
		return -EAGAIN;
	homa_turn_init(&turn);
	homa_sock_lock(hs);
	if (homa_core_is_broken(hs->engine->core))
		err = -EIO;
	else if (private)
		err = homa_take_private(hs, private, args, taken, &turn);
	else
		err = homa_take_shared(hs, args, taken, &turn);
	homa_engine_unlock(hs->engine, &turn);
	return err;
}

static int homa_wait(struct homa_sock *hs, struct homa_rpc *private,
		     struct homa_recvmsg_args *args, struct homa_taken *taken,
		     long timeout)
{
	wait_queue_head_t *queue = sk_sleep(homa_sock_sk(hs));
	DEFINE_WAIT(wait);
	int err;

	if (private)
		queue = &private->wait;
	for (;;) {
		/* Each message wakes one thread, and whoever polls. */
		prepare_to_wait_exclusive(queue, &wait, TASK_INTERRUPTIBLE);
		err = homa_look(hs, private, args, taken);
		if (err != -EAGAIN || !timeout)
			break;
		if (signal_pending(current)) {
			err = sock_intr_errno(timeout);
			break;
		}
		timeout = schedule_timeout(timeout);
	}
	finish_wait(queue, &wait);
	return err;
}

/* Finds the private RPC that is asked for, and has nobody else wait for it. */
static struct homa_rpc *homa_claim(struct homa_sock *hs, u64 id)
{
	struct homa_rpc *rpc;

	homa_sock_lock(hs);
	rpc = homa_rpc_find(hs, id, NULL, 0);
	if (hs->shut) {
		rpc = ERR_PTR(-ESHUTDOWN);
	} else if (!rpc || !rpc->private || rpc->waited) {
		rpc = ERR_PTR(-EINVAL);
	} else {
		rpc->waited = true;
		homa_rpc_hold(rpc);
	}
	spin_unlock_bh(&hs->engine->lock);
	return rpc;
}

static void homa_unclaim(struct homa_rpc *rpc)
{
	struct homa_engine *engine = rpc->sock->engine;

	homa_engine_lock(engine);
	rpc->waited = false;
	spin_unlock_bh(&engine->lock);
	homa_rpc_put(rpc);
}

static int homa_await(struct homa_sock *hs, struct homa_recvmsg_args *args,
		      struct homa_taken *taken, bool nonblocking)
{
	long timeout = sock_rcvtimeo(homa_sock_sk(hs), nonblocking);
	struct homa_rpc *private = NULL;
	int err;

	if (args->id) {
		private = homa_claim(hs, args->id);
		if (IS_ERR(private))
			return PTR_ERR(private);
	}
	err = homa_look(hs, private, args, taken);
	if (err == -EAGAIN && timeout)
		err = homa_wait(hs, private, args, taken, timeout);
	if (private)
		homa_unclaim(private);
	return err;
}

/* Copies bytes of a packet that belong at @offset of the message. */
static int homa_copy_packet(struct homa_sock *hs,
			    const struct homa_recvmsg_args *args,
			    const struct sk_buff *skb)
{
	const struct homa_cb *cb = HOMA_CB(skb);
	u32 from = cb->header_bytes;
	u32 offset = cb->offset;
	u32 left = cb->length;

	while (left) {
		u32 page = offset >> HOMA_BPAGE_SHIFT;
		u32 at = offset & (HOMA_BPAGE_SIZE - 1);
		u32 bytes = min_t(u32, left, HOMA_BPAGE_SIZE - at);
		struct iov_iter to;

		iov_iter_ubuf(&to, ITER_DEST, hs->pool.region +
			      args->bpage_offsets[page] + at, bytes);
		if (skb_copy_datagram_iter(skb, from, &to, bytes))
			return -EFAULT;
		from += bytes;
		offset += bytes;
		left -= bytes;
	}
	return 0;
}

static int homa_copy(struct homa_sock *hs, const struct homa_recvmsg_args *args,
		     struct homa_taken *taken)
{
	struct sk_buff *skb;
	int err = 0;

	while ((skb = __skb_dequeue(&taken->packets))) {
		if (!err)
			err = homa_copy_packet(hs, args, skb);
		consume_skb(skb);
		cond_resched();
	}
	return err;
}

/* A request could not be copied, and is never to be seen then. */
static void homa_request_drop(struct homa_sock *hs, struct homa_rpc *rpc)
{
	struct homa_engine *engine = hs->engine;
	struct homa_turn turn;

	homa_turn_init(&turn);
	homa_sock_lock(hs);
	if (rpc->state == HOMA_RPC_TAKEN) {
		homa_core_abort(engine->core, ktime_get_ns(), rpc->key);
		homa_rpc_kill(rpc, &turn);
	}
	homa_engine_settle(engine, &turn);
}

/*
 * Bytes that were received are given back when the core is called next, many at
 * once; but of very many it is told, since others may wait for them.
 */
static void homa_give_back(struct homa_sock *hs)
{
	struct homa_engine *engine = hs->engine;
	struct homa_turn turn;

	if (READ_ONCE(engine->given_back) < HOMA_GIVE_BACK_MAX)
		return;
	homa_turn_init(&turn);
	homa_sock_lock(hs);
	homa_engine_settle(engine, &turn);
}

static void homa_taken_finish(struct homa_sock *hs, struct homa_rpc *rpc,
			      bool delivered)
{
	if (!homa_is_client(rpc->id)) {
		if (!delivered) {
			homa_request_drop(hs, rpc);
			return;
		}
		/* Unless it ended meanwhile; a reply will go nowhere then. */
		cmpxchg(&rpc->state, HOMA_RPC_TAKEN, HOMA_RPC_SERVICE);
	}
	homa_give_back(hs);
}

/* Somebody may wait for the room that was given back. */
static void homa_room_again(struct homa_sock *hs)
{
	struct sock *sk = homa_sock_sk(hs);

	if (!list_empty_careful(&hs->ready))
		sk->sk_data_ready(sk);
}

static int homa_receive_args(struct homa_sock *hs, const struct msghdr *msg,
			     struct homa_recvmsg_args *args)
{
	if (!msg->msg_control_is_user || !msg->msg_control_user ||
	    msg->msg_controllen != sizeof(*args))
		return -EINVAL;
	if (copy_from_user(args, msg->msg_control_user, sizeof(*args)))
		return -EFAULT;
	if (args->num_bpages > HOMA_MAX_BPAGES || args->reserved)
		return -EINVAL;
	/* Pairs with homa_pool_set(). */
	if (!smp_load_acquire(&hs->pool.count))
		return -EINVAL;
	return 0;
}

/* Delivers what was taken; the message's length, or why its RPC failed. */
static int homa_receive(struct homa_sock *hs, struct msghdr *msg,
			struct homa_recvmsg_args *args,
			struct homa_taken *taken, int *addr_len)
{
	struct homa_rpc *rpc = taken->rpc;
	void __user *control = msg->msg_control_user;
	int err = taken->error;

	args->id = rpc->id;
	args->completion_cookie = homa_is_client(rpc->id) ? rpc->cookie : 0;
	if (msg->msg_name)
		homa_sockaddr_write(homa_sock_sk(hs), &rpc->peer, rpc->scope,
				    rpc->port, msg->msg_name, addr_len);
	if (!err)
		err = homa_copy(hs, args, taken);
	else
		__skb_queue_purge(&taken->packets);
	if (err && !taken->error)
		homa_pool_give_back(&hs->pool, args->bpage_offsets,
				    args->num_bpages);
	if (err)
		args->num_bpages = 0;
	if (copy_to_user(control, args, sizeof(*args))) {
		if (!err)
			homa_pool_give_back(&hs->pool, args->bpage_offsets,
					    args->num_bpages);
		err = -EFAULT;
	}
	homa_taken_finish(hs, rpc, !err);
	return err ?: taken->length;
}

int homa_recvmsg(struct sock *sk, struct msghdr *msg, size_t len, int flags,
		 int *addr_len)
{
	struct homa_sock *hs = homa_sk(sk);
	void __user *control = msg->msg_control_user;
	struct homa_recvmsg_args args;
	struct homa_taken taken = {};
	u32 given;
	int err;

	/* A message that was seen is a message received: none of these works. */
	if (flags & (MSG_OOB | MSG_PEEK | MSG_ERRQUEUE))
		return -EOPNOTSUPP;
	err = homa_receive_args(hs, msg, &args);
	if (err)
		return err;
	given = args.num_bpages;
	args.num_bpages = 0;
	args.completion_cookie = 0;
	__skb_queue_head_init(&taken.packets);
	err = homa_pool_give_back(&hs->pool, args.bpage_offsets, given);
	memset(args.bpage_offsets, 0, sizeof(args.bpage_offsets));
	if (!err) {
		if (given)
			homa_room_again(hs);
		err = homa_await(hs, &args, &taken, flags & MSG_DONTWAIT);
	}
	if (err) {
		/* No RPC: that is what an id of 0 says. */
		args.id = 0;
		if (copy_to_user(control, &args, sizeof(args)))
			err = -EFAULT;
		return err;
	}
	err = homa_receive(hs, msg, &args, &taken, addr_len);
	homa_rpc_put(taken.rpc);
	return err;
}
