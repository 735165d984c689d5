// SPDX-License-Identifier: GPL-2.0
/* Sockets: from socket() to close(), options, poll. Ports are in homa_port.c. */
#include <linux/compat.h>
#include <linux/percpu.h>
#include <linux/poll.h>
#include <linux/sockptr.h>
#include <linux/swap.h>
#include <linux/uaccess.h>
#include <net/inet_common.h>
#include <net/protocol.h>
#include <net/transp_v6.h>

#include "homa_impl.h"

/*
 * Pages of received packets, over all sockets: what there are, and from how
 * many on packets are refused.
 */
static atomic_long_t homa_memory_allocated;
static DEFINE_PER_CPU(int, homa_memory_reserve);
static long homa_memory_limits[3];

/* So many bytes a socket may keep even then. */
static int homa_rmem_least = PAGE_SIZE;

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

static void homa_destruct(struct sock *sk)
{
	homa_message_drop_spares(homa_sk(sk));
	homa_rpc_drop_spare(homa_sk(sk));
	homa_sk(sk)->destruct(sk);
}

static int homa_init_sock(struct sock *sk)
{
	struct homa_sock *hs = homa_sk(sk);

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
	WRITE_ONCE(sk->sk_rcvbuf, HOMA_RCVBUF);

	hs->engine = homa_engine_get(sock_net(sk), HOMA_LINK_IP);
	return hs->engine ? homa_port_claim(hs, 0) : -ENOMEM;
}

/* Ends every RPC of a socket, and its port. Threads that wait are told. */
static void homa_sock_shut(struct homa_sock *hs)
{
	struct sock *sk = homa_sock_sk(hs);
	struct homa_rpc *rpc, *next;
	struct homa_turn turn;

	if (!hs->engine)
		return;
	lock_sock(sk);
	homa_turn_init(&turn);
	homa_sock_lock(hs);
	if (!hs->shut) {
		WRITE_ONCE(hs->shut, true);
		homa_port_close(hs);
		list_for_each_entry_safe(rpc, next, &hs->rpcs, in_sock)
			homa_rpc_kill(rpc, &turn);
	}
	homa_engine_settle(hs->engine, &turn);
	homa_udp_close(hs->udp);
	hs->udp = NULL;
	release_sock(sk);
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
		return homa_port_bind(homa_sk(sk), ntohs(sin->sin_port));
	}
	if (length < (int)SIN6_LEN_RFC2133)
		return -EINVAL;
	return homa_port_bind(homa_sk(sk), ntohs(sin6->sin6_port));
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

static int homa_set_udp(struct homa_sock *hs, sockptr_t value, u32 length)
{
	int udp;

	if (length != sizeof(udp))
		return -EINVAL;
	if (copy_from_sockptr(&udp, value, sizeof(udp)))
		return -EFAULT;
	return homa_sock_move(hs, udp ? HOMA_LINK_UDP : HOMA_LINK_IP);
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
	homa_sock_lock(hs);
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
	case SO_HOMA_UDP:
		return homa_set_udp(homa_sk(sk), value, length);
	default:
		return -ENOPROTOOPT;
	}
}

static int homa_getsockopt(struct sock *sk, int level, int name,
			   char __user *value, int __user *length)
{
	struct homa_sock *hs = homa_sk(sk);
	struct homa_rcvbuf_args region = {};
	int udp = hs->engine->link == HOMA_LINK_UDP;
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
	case SO_HOMA_UDP:
		from = &udp;
		size = sizeof(udp);
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
	.memory_allocated = &homa_memory_allocated,
	.per_cpu_fw_alloc = &homa_memory_reserve,
	.sysctl_mem = homa_memory_limits,
	.sysctl_rmem = &homa_rmem_least,
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
	.memory_allocated = &homa_memory_allocated,
	.per_cpu_fw_alloc = &homa_memory_reserve,
	.sysctl_mem = homa_memory_limits,
	.sysctl_rmem = &homa_rmem_least,
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

	/* As UDP: an eighth of the memory. */
	homa_memory_limits[1] = max(nr_free_buffer_pages() / 8, 128UL);
	homa_memory_limits[0] = homa_memory_limits[1] / 4 * 3;
	homa_memory_limits[2] = homa_memory_limits[0] * 2;
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
