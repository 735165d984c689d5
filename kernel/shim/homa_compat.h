/* SPDX-License-Identifier: GPL-2.0 */
/* What differs between Linux 6.1 and 6.12, and nothing else. */
#ifndef _HOMA_COMPAT_H
#define _HOMA_COMPAT_H

#include <linux/version.h>
#include <linux/udp.h>
#include <net/sock.h>

/* Headers that were split off others: in 6.12 and 6.6. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 12, 0)
#include <linux/unaligned.h>
#else
#include <asm/unaligned.h>
#endif
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
#include <net/gso.h>
#endif

/* Since 6.5 a protocol says where its IPv6 part lies; before, at the end. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
#define HOMA_PINFO_OFFSET(type, member) \
	.ipv6_pinfo_offset = offsetof(type, member),
#else
#define HOMA_PINFO_OFFSET(type, member)
#endif

/*
 * Since 6.2 a tunnel is told by other arguments of what ICMP says about it.
 * Defines @name, which calls @report with where the datagram's payload begins.
 */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 2, 0)
#define HOMA_UDP_ERROR(name, report)                                        \
	static void name(struct sock *sk, struct sk_buff *skb, int err,     \
			 __be16 port, u32 info, u8 *payload)                \
	{                                                                   \
		report(skb, payload - skb->data);                           \
	}
#else
#define HOMA_UDP_ERROR(name, report)                                        \
	static void name(struct sock *sk, struct sk_buff *skb,              \
			 unsigned int udp_offset)                           \
	{                                                                   \
		report(skb, udp_offset + sizeof(struct udphdr));            \
	}
#endif

#endif /* _HOMA_COMPAT_H */
