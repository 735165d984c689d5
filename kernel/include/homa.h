/* SPDX-License-Identifier: (GPL-2.0 WITH Linux-syscall-note) OR MIT */
/*
 * Homa sockets, as programs see them: socket(AF_INET or AF_INET6, SOCK_DGRAM,
 * IPPROTO_HOMA). The layouts are those of the reference module, so that
 * programs written for it run; docs/kernel.md says what each call does.
 */
#ifndef _UAPI_LINUX_HOMA_H
#define _UAPI_LINUX_HOMA_H

#include <linux/ioctl.h>
#include <linux/types.h>
#ifdef __KERNEL__
#include <linux/socket.h>
#else
#include <stddef.h>
#include <netinet/in.h>
#include <sys/socket.h>
#endif

#define IPPROTO_HOMA 146

/* Longest message, in bytes. */
#define HOMA_MAX_MESSAGE_LENGTH 1000000

/* Received messages lie in pages of this many bytes of the receive region. */
#define HOMA_BPAGE_SHIFT 16
#define HOMA_BPAGE_SIZE (1 << HOMA_BPAGE_SHIFT)

/* Most pages of one message. */
#define HOMA_MAX_BPAGES \
	((HOMA_MAX_MESSAGE_LENGTH + HOMA_BPAGE_SIZE - 1) >> HOMA_BPAGE_SHIFT)

/* Ports below are for servers, which bind; clients get one from here on. */
#define HOMA_MIN_DEFAULT_PORT 0x8000

/* setsockopt and getsockopt, level IPPROTO_HOMA */
#define SO_HOMA_RCVBUF 10	/* struct homa_rcvbuf_args, once per socket */
#define SO_HOMA_SERVER 11	/* int: whether requests are accepted */
/*
 * int: whether packets travel in UDP datagrams, from and to the UDP port of the
 * same number. Set before the first RPC. The reference module lacks it.
 */
#define SO_HOMA_UDP 100

/**
 * struct homa_sendmsg_args - at msg_control of sendmsg, with msg_controllen 0
 * @id:                0 for a request, whose id is written back; else the RPC
 *                     to answer, whose client is msg_name
 * @completion_cookie: of a request, given back with its response; of a reply 0
 * @flags:             HOMA_SENDMSG_*
 * @reserved:          0
 */
struct homa_sendmsg_args {
	__u64 id;
	__u64 completion_cookie;
	__u32 flags;
	__u32 reserved;
};

/* The response goes to who asks for its id, and to nobody else. */
#define HOMA_SENDMSG_PRIVATE 1
#define HOMA_SENDMSG_VALID_FLAGS HOMA_SENDMSG_PRIVATE

/**
 * struct homa_recvmsg_args - at msg_control of recvmsg, with msg_controllen
 * exactly its size
 * @id:                in: 0 for any message that is not private, else the
 *                     private RPC wanted; out: the RPC, odd for a request, 0
 *                     for none
 * @completion_cookie: out: that of the request
 * @num_bpages:        in: pages given back; out: pages of the message
 * @reserved:          0
 * @bpage_offsets:     where each page begins in the region; all but the last
 *                     are full
 */
struct homa_recvmsg_args {
	__u64 id;
	__u64 completion_cookie;
	__u32 num_bpages;
	__u32 reserved;
	__u32 bpage_offsets[HOMA_MAX_BPAGES];
};

/**
 * struct homa_rcvbuf_args - the receive region
 * @start:  address of its first byte, at the start of a page
 * @length: its bytes; whole HOMA_BPAGE_SIZE are used
 */
struct homa_rcvbuf_args {
	__u64 start;
	__u64 length;
};

/**
 * struct homa_abort_args - ends RPCs of a client
 * @id:    the RPC, 0 for all of the socket
 * @error: 0: as if it had never been; else the errno that recvmsg returns
 * @pad1:  0
 * @pad2:  0
 */
struct homa_abort_args {
	__u64 id;
	__u32 error;
	__u32 pad1;
	__u64 pad2[2];
};

/**
 * struct homa_info - what a socket holds
 * @rpc_info:         in: address of an array of struct homa_rpc_info
 * @rpc_info_length:  in: its bytes
 * @bpool_avail_bytes: out: free bytes of the receive region
 * @port:             out: the socket's port
 * @num_rpcs:         out: RPCs of the socket, those without room included
 * @error_msg:        out: text about the last error
 */
#define HOMA_ERROR_MSG_SIZE 104
struct homa_info {
	__u64 rpc_info;
	__u64 rpc_info_length;
	__u64 bpool_avail_bytes;
	__u32 port;
	__u32 num_rpcs;
	char error_msg[HOMA_ERROR_MSG_SIZE];
};

/**
 * struct homa_rpc_info - one RPC
 * @id:                as this end names it
 * @peer:              the other end
 * @completion_cookie: of a client's RPC
 * @tx_length:         bytes of the message sent, -1: there is none yet
 * @tx_sent:           bytes sent at least once
 * @tx_granted:        bytes that may be sent
 * @tx_prio:           priority of granted bytes
 * @rx_length:         bytes of the message received, -1: nothing came yet
 * @rx_remaining:      bytes that have not come
 * @rx_gaps:           gaps in what came
 * @rx_gap_bytes:      their bytes
 * @rx_granted:        bytes that the sender may send
 * @flags:             HOMA_RPC_*
 */
struct homa_rpc_info {
	__u64 id;
#ifdef __KERNEL__
	struct __kernel_sockaddr_storage peer;
#else
	struct sockaddr_storage peer;
#endif
	__u64 completion_cookie;
	__s32 tx_length;
	__u32 tx_sent;
	__u32 tx_granted;
	__u32 tx_prio;
	__s32 rx_length;
	__u32 rx_remaining;
	__u32 rx_gaps;
	__u32 rx_gap_bytes;
	__u32 rx_granted;
	__u16 flags;
};

#define HOMA_RPC_BUF_STALL 1	/* waits for room in the receive region */
#define HOMA_RPC_PRIVATE 2	/* see HOMA_SENDMSG_PRIVATE */
#define HOMA_RPC_RX_READY 4	/* waits for recvmsg */
#define HOMA_RPC_RX_COPY 8	/* is being copied */

#define HOMAIOCINFO _IOWR('h', 0x90, struct homa_info)
#define HOMAIOCABORT _IOWR('h', 0x91, struct homa_abort_args)
#define HOMAIOCFREEZE _IO('h', 0x92)

#ifdef __KERNEL__
#define HOMA_ABI_ASSERT static_assert
#elif defined(__cplusplus)
#define HOMA_ABI_ASSERT static_assert
#else
#define HOMA_ABI_ASSERT _Static_assert
#endif
#define HOMA_ABI_AT(type, member, at) \
	HOMA_ABI_ASSERT(offsetof(struct type, member) == (at), #member)
#define HOMA_ABI_SIZE(type, size) \
	HOMA_ABI_ASSERT(sizeof(struct type) == (size), #type)

HOMA_ABI_SIZE(homa_sendmsg_args, 24);
HOMA_ABI_AT(homa_sendmsg_args, id, 0);
HOMA_ABI_AT(homa_sendmsg_args, completion_cookie, 8);
HOMA_ABI_AT(homa_sendmsg_args, flags, 16);
HOMA_ABI_AT(homa_sendmsg_args, reserved, 20);
HOMA_ABI_SIZE(homa_recvmsg_args, 88);
HOMA_ABI_AT(homa_recvmsg_args, id, 0);
HOMA_ABI_AT(homa_recvmsg_args, completion_cookie, 8);
HOMA_ABI_AT(homa_recvmsg_args, num_bpages, 16);
HOMA_ABI_AT(homa_recvmsg_args, reserved, 20);
HOMA_ABI_AT(homa_recvmsg_args, bpage_offsets, 24);
HOMA_ABI_SIZE(homa_rcvbuf_args, 16);
HOMA_ABI_AT(homa_rcvbuf_args, start, 0);
HOMA_ABI_AT(homa_rcvbuf_args, length, 8);
HOMA_ABI_SIZE(homa_abort_args, 32);
HOMA_ABI_AT(homa_abort_args, id, 0);
HOMA_ABI_AT(homa_abort_args, error, 8);
HOMA_ABI_AT(homa_abort_args, pad1, 12);
HOMA_ABI_AT(homa_abort_args, pad2, 16);
HOMA_ABI_SIZE(homa_info, 136);
HOMA_ABI_AT(homa_info, rpc_info, 0);
HOMA_ABI_AT(homa_info, rpc_info_length, 8);
HOMA_ABI_AT(homa_info, bpool_avail_bytes, 16);
HOMA_ABI_AT(homa_info, port, 24);
HOMA_ABI_AT(homa_info, num_rpcs, 28);
HOMA_ABI_AT(homa_info, error_msg, 32);
HOMA_ABI_SIZE(homa_rpc_info, 184);
HOMA_ABI_AT(homa_rpc_info, id, 0);
HOMA_ABI_AT(homa_rpc_info, peer, 8);
HOMA_ABI_AT(homa_rpc_info, completion_cookie, 136);
HOMA_ABI_AT(homa_rpc_info, tx_length, 144);
HOMA_ABI_AT(homa_rpc_info, tx_sent, 148);
HOMA_ABI_AT(homa_rpc_info, tx_granted, 152);
HOMA_ABI_AT(homa_rpc_info, tx_prio, 156);
HOMA_ABI_AT(homa_rpc_info, rx_length, 160);
HOMA_ABI_AT(homa_rpc_info, rx_remaining, 164);
HOMA_ABI_AT(homa_rpc_info, rx_gaps, 168);
HOMA_ABI_AT(homa_rpc_info, rx_gap_bytes, 172);
HOMA_ABI_AT(homa_rpc_info, rx_granted, 176);
HOMA_ABI_AT(homa_rpc_info, flags, 180);
HOMA_ABI_ASSERT(HOMA_MAX_BPAGES == 16, "HOMA_MAX_BPAGES");
HOMA_ABI_ASSERT(HOMAIOCINFO == 0xc0886890, "HOMAIOCINFO");
HOMA_ABI_ASSERT(HOMAIOCABORT == 0xc0206891, "HOMAIOCABORT");
HOMA_ABI_ASSERT(HOMAIOCFREEZE == 0x6892, "HOMAIOCFREEZE");

#endif /* _UAPI_LINUX_HOMA_H */
