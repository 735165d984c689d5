// SPDX-License-Identifier: GPL-2.0
/* Sockets: from socket() to close(), ports, options, poll. */
#include <linux/compat.h>
#include <linux/poll.h>
#include <linux/sockptr.h>
#include <linux/uaccess.h>
#include <net/inet_common.h>
#include <net/protocol.h>
#include <net/transp_v6.h>

#include "homa_impl.h"

/* Ports that clients are given. */
#define HOMA_DEFAULT_PORTS (0x10000 - HOMA_MIN_DEFAULT_PORT)

/* The socket of a port. Under RCU or the engine's lock. */
struct homa_sock *homa_sock_lookup(struct homa_engine *engine, u16 port)
{
	struct homa_sock *hs;

	hash_for_each_possible_rcu(engine->ports, hs, by_port, port,
				   lockdep_is_held(&engine->lock))
		if (hs->port == port)
			return hs;
	return NULL;
}

/* Writes an address as the socket's family has it. */
void homa_sockaddr_write(const struct sock *sk, const struct in6_addr *addr,
			 u32 scope, u16 port, void *to, int *length)
{
	struct sockaddr_in6 *sin6 = to;
	struct sockaddr_in *sin = to;

	if (sk->sk_family == AF_INET) {
		*sin = (struct sockaddr_in) {
			.sin_family = AF_INET,
			.sin_port = htons(port),
			.sin_addr.s_addr = addr->s6_addr32[3],
		};
		*length = sizeof(*sin);
		return;
	}
	*sin6 = (struct sockaddr_in6) {
		.sin6_family = AF_INET6,
		.sin6_port = htons(port),
		.sin6_addr = *addr,
		.sin6_scope_id = scope,
	};
	*length = sizeof(*sin6);
}

/* Opens @port for the socket, in the core and in the table. Under the lock. */
static int homa_port_open(struct homa_sock *hs, u16 port)
{
	struct homa_engine *engine = hs->engine;
	int index, err;

	index = homa_core_open(engine->core, port, hs->server);
	if (index < 0)
		return index;
	err = xa_err(xa_store(&engine->socks, index, hs,
			      GFP_ATOMIC | __GFP_NOWARN));
	if (err) {
		homa_core_close(engine->core, ktime_get_ns(), index);
		return err;
	}
	hs->index = index;
	hs->port = port;
	hs->inet.inet_num = port;
	hs->inet.inet_sport = htons(port);
	hash_add_rcu(engine->ports, &hs->by_port, port);
	return 0;
}

static void homa_port_close(struct homa_sock *hs)
{
	struct homa_engine *engine = hs->engine;

	hash_del_rcu(&hs->by_port);
	xa_erase(&engine->socks, hs->index);
	homa_core_close(engine->core, ktime_get_ns(), hs->index);
}

/* Gives a new socket a port that nobody has. Under the lock. */
static int homa_port_choose(struct homa_sock *hs)
{
	struct homa_engine *engine = hs->engine;
	u32 tries;

	for (tries = 0; tries < HOMA_DEFAULT_PORTS; tries++) {
		u16 port = engine->next_port++ | HOMA_MIN_DEFAULT_PORT;

		if (!homa_sock_lookup(engine, port))
			return homa_port_open(hs, port);
	}
	return -EADDRNOTAVAIL;
}

static void homa_destruct(struct sock *sk)
{
	homa_sk(sk)->destruct(sk);
}

static int homa_init_sock(struct sock *sk)
{
	struct homa_sock *hs = homa_sk(sk);
	struct homa_turn turn;
	int err;

	INIT_LIST_HEAD(&hs->rpcs);
	INIT_LIST_HEAD(&hs->ready);
	homa_pool_init(&hs->pool);
	atomic_set(&hs->wmem, 0);
	/* Not in the table yet: nothing to close if this fails. */
	hs->shut = true;
	hs->destruct = sk->sk_destruct;
	sk->sk_destruct = homa_destruct;
	sock_set_flag(sk, SOCK_RCU_FREE);
	WRITE_ONCE(sk->sk_sndbuf, HOMA_SNDBUF);

	hs->engine = homa_engine_get(sock_net(sk));
	if (!hs->engine)
		return -ENOMEM;
	homa_turn_init(&turn);
	homa_engine_lock(hs->engine);
	err = homa_port_choose(hs);
	hs->shut = err;
	homa_engine_settle(hs->engine, &turn);
	return err;
}

/* Ends every RPC of a socket, and its port. Threads that wait are told. */
static void homa_sock_shut(struct homa_sock *hs)
{
	struct sock *sk = homa_sock_sk(hs);
	struct homa_rpc *rpc, *next;
	struct homa_turn turn;

	if (!hs->engine)
		return;
	homa_turn_init(&turn);
	homa_engine_lock(hs->engine);
	if (!hs->shut) {
		WRITE_ONCE(hs->shut, true);
		homa_port_close(hs);
		list_for_each_entry_safe(rpc, next, &hs->rpcs, in_sock)
			homa_rpc_kill(rpc, &turn);
	}
	homa_engine_settle(hs->engine, &turn);
	WRITE_ONCE(sk->sk_shutdown, SHUTDOWN_MASK);
	/* Wakes all who wait, whatever for. */
	sk->sk_state_change(sk);
}

static void homa_close(struct sock *sk, long timeout)
{
	homa_sock_shut(homa_sk(sk));
	sk_common_release(sk);
}

static void homa_destroy_sock(struct sock *sk)
{
	homa_pool_destroy(&homa_sk(sk)->pool);
}

static void homa_unhash(struct sock *sk)
{
	/* homa_close() did. */
}

static int homa_shutdown(struct socket *sock, int how)
{
	if (how < SHUT_RD || how > SHUT_RDWR)
		return -EINVAL;
	homa_sock_shut(homa_sk(sock->sk));
	return 0;
}

/* Takes the place of the port that the socket has. Under the lock. */
static int homa_rebind(struct homa_sock *hs, u16 port)
{
	struct homa_sock *other = homa_sock_lookup(hs->engine, port);
	u16 old_port = hs->port;
	bool server = hs->server;
	int err;

	if (hs->shut)
		return -ESHUTDOWN;
	if (other && other != hs)
		return -EADDRINUSE;
	hs->server = true;
	if (other) {
		homa_core_accept(hs->engine->core, hs->index, true);
		return 0;
	}
	homa_port_close(hs);
	err = homa_port_open(hs, port);
	if (err) {
		hs->server = server;
		/* The memory of the old port is free: it is there again. */
		if (homa_port_open(hs, old_port))
			WRITE_ONCE(hs->shut, true);
	}
	return err;
}

static int homa_bind_port(struct homa_sock *hs, u16 port)
{
	struct homa_turn turn;
	int err;

	if (!port)
		return 0;
	if (port >= HOMA_MIN_DEFAULT_PORT)
		return -EINVAL;
	homa_turn_init(&turn);
	homa_engine_lock(hs->engine);
	err = homa_rebind(hs, port);
	homa_engine_settle(hs->engine, &turn);
	return err;
}

/* The address does not matter, a port serves all of them. */
static int homa_bind(struct socket *sock, struct sockaddr *addr, int length)
{
	struct sock *sk = sock->sk;
	struct sockaddr_in6 *sin6 = (struct sockaddr_in6 *)addr;
	struct sockaddr_in *sin = (struct sockaddr_in *)addr;

	if (length < (int)sizeof(addr->sa_family))
		return -EINVAL;
	if (addr->sa_family != sk->sk_family)
		return -EAFNOSUPPORT;
	if (sk->sk_family == AF_INET) {
		if (length < (int)sizeof(*sin))
			return -EINVAL;
		return homa_bind_port(homa_sk(sk), ntohs(sin->sin_port));
	}
	if (length < (int)SIN6_LEN_RFC2133)
		return -EINVAL;
	return homa_bind_port(homa_sk(sk), ntohs(sin6->sin6_port));
}

static int homa_set_region(struct homa_sock *hs, sockptr_t value, u32 length)
{
	struct homa_rcvbuf_args args;

	if (length != sizeof(args))
		return -EINVAL;
	if (copy_from_sockptr(&args, value, sizeof(args)))
		return -EFAULT;
	return homa_pool_set(&hs->pool, &args);
}

static int homa_set_server(struct homa_sock *hs, sockptr_t value, u32 length)
{
	struct homa_turn turn;
	int server;

	if (length != sizeof(server))
		return -EINVAL;
	if (copy_from_sockptr(&server, value, sizeof(server)))
		return -EFAULT;
	homa_turn_init(&turn);
	homa_engine_lock(hs->engine);
	hs->server = server;
	if (!hs->shut)
		homa_core_accept(hs->engine->core, hs->index, server);
	homa_engine_settle(hs->engine, &turn);
	return 0;
}

static int homa_setsockopt(struct sock *sk, int level, int name,
			   sockptr_t value, unsigned int length)
{
	if (level != IPPROTO_HOMA)
		return -ENOPROTOOPT;
	switch (name) {
	case SO_HOMA_RCVBUF:
		return homa_set_region(homa_sk(sk), value, length);
	case SO_HOMA_SERVER:
		return homa_set_server(homa_sk(sk), value, length);
	default:
		return -ENOPROTOOPT;
	}
}

static int homa_getsockopt(struct sock *sk, int level, int name,
			   char __user *value, int __user *length)
{
	struct homa_sock *hs = homa_sk(sk);
	struct homa_rcvbuf_args region = {};
	int server = hs->server;
	const void *from;
	int room, size;

	if (copy_from_user(&room, length, sizeof(room)))
		return -EFAULT;
	if (level != IPPROTO_HOMA)
		return -ENOPROTOOPT;
	switch (name) {
	case SO_HOMA_RCVBUF:
		region.start = (uintptr_t)hs->pool.region;
		region.length = (u64)hs->pool.count << HOMA_BPAGE_SHIFT;
		from = &region;
		size = sizeof(region);
		break;
	case SO_HOMA_SERVER:
		from = &server;
		size = sizeof(server);
		break;
	default:
		return -ENOPROTOOPT;
	}
	if (room < size)
		return -EINVAL;
	if (copy_to_user(length, &size, sizeof(size)) ||
	    copy_to_user(value, from, size))
		return -EFAULT;
	return 0;
}

static __poll_t homa_poll(struct file *file, struct socket *sock,
			  struct poll_table_struct *wait)
{
	struct homa_sock *hs = homa_sk(sock->sk);
	__poll_t mask = 0;

	sock_poll_wait(file, sock, wait);
	if (!list_empty_careful(&hs->ready))
		mask |= EPOLLIN | EPOLLRDNORM;
	if (READ_ONCE(hs->shut))
		mask |= EPOLLIN | EPOLLRDHUP | EPOLLHUP;
	if (READ_ONCE(hs->engine->given_up))
		mask |= EPOLLERR;
	if (!homa_sock_has_room(hs)) {
		WRITE_ONCE(hs->starved, true);
		/* Pairs with homa_message_put(). */
		smp_mb();
	}
	if (homa_sock_has_room(hs))
		mask |= EPOLLOUT | EPOLLWRNORM;
	return mask;
}

static struct proto homa_proto_v4 = {
	.name = "HOMA",
	.owner = THIS_MODULE,
	.obj_size = sizeof(struct homa_sock),
	.no_autobind = true,
	.init = homa_init_sock,
	.destroy = homa_destroy_sock,
	.close = homa_close,
	.unhash = homa_unhash,
	.setsockopt = homa_setsockopt,
	.getsockopt = homa_getsockopt,
	.sendmsg = homa_sendmsg,
	.recvmsg = homa_recvmsg,
};

static struct proto homa_proto_v6 = {
	.name = "HOMAv6",
	.owner = THIS_MODULE,
	.obj_size = sizeof(struct homa6_sock),
	HOMA_PINFO_OFFSET(struct homa6_sock, inet6)
	.no_autobind = true,
	.init = homa_init_sock,
	.destroy = homa_destroy_sock,
	.close = homa_close,
	.unhash = homa_unhash,
	.setsockopt = homa_setsockopt,
	.getsockopt = homa_getsockopt,
	.sendmsg = homa_sendmsg,
	.recvmsg = homa_recvmsg,
};

static const struct proto_ops homa_ops_v4 = {
	.family = PF_INET,
	.owner = THIS_MODULE,
	.release = inet_release,
	.bind = homa_bind,
	.connect = sock_no_connect,
	.socketpair = sock_no_socketpair,
	.accept = sock_no_accept,
	.getname = inet_getname,
	.poll = homa_poll,
	.ioctl = homa_ioctl,
	.listen = sock_no_listen,
	.shutdown = homa_shutdown,
	.setsockopt = sock_common_setsockopt,
	.getsockopt = sock_common_getsockopt,
	.sendmsg = inet_sendmsg,
	.recvmsg = inet_recvmsg,
	.mmap = sock_no_mmap,
#ifdef CONFIG_COMPAT
	.compat_ioctl = homa_ioctl,
#endif
};

static const struct proto_ops homa_ops_v6 = {
	.family = PF_INET6,
	.owner = THIS_MODULE,
	.release = inet6_release,
	.bind = homa_bind,
	.connect = sock_no_connect,
	.socketpair = sock_no_socketpair,
	.accept = sock_no_accept,
	.getname = inet6_getname,
	.poll = homa_poll,
	.ioctl = homa_ioctl,
	.listen = sock_no_listen,
	.shutdown = homa_shutdown,
	.setsockopt = sock_common_setsockopt,
	.getsockopt = sock_common_getsockopt,
	.sendmsg = inet_sendmsg,
	.recvmsg = inet_recvmsg,
	.mmap = sock_no_mmap,
#ifdef CONFIG_COMPAT
	.compat_ioctl = homa_ioctl,
#endif
};

static struct inet_protosw homa_switch_v4 = {
	.type = SOCK_DGRAM,
	.protocol = IPPROTO_HOMA,
	.prot = &homa_proto_v4,
	.ops = &homa_ops_v4,
	.flags = INET_PROTOSW_REUSE,
};

static struct inet_protosw homa_switch_v6 = {
	.type = SOCK_DGRAM,
	.protocol = IPPROTO_HOMA,
	.prot = &homa_proto_v6,
	.ops = &homa_ops_v6,
	.flags = INET_PROTOSW_REUSE,
};

int homa_socket_init(void)
{
	int err;

	err = proto_register(&homa_proto_v4, 1);
	if (err)
		return err;
	err = proto_register(&homa_proto_v6, 1);
	if (err)
		goto out_v4;
	inet_register_protosw(&homa_switch_v4);
	err = inet6_register_protosw(&homa_switch_v6);
	if (err)
		goto out_v6;
	return 0;
out_v6:
	inet_unregister_protosw(&homa_switch_v4);
	proto_unregister(&homa_proto_v6);
out_v4:
	proto_unregister(&homa_proto_v4);
	return err;
}

void homa_socket_exit(void)
{
	inet6_unregister_protosw(&homa_switch_v6);
	inet_unregister_protosw(&homa_switch_v4);
	proto_unregister(&homa_proto_v6);
	proto_unregister(&homa_proto_v4);
}
