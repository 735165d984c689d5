/* SPDX-License-Identifier: GPL-2.0 */
/* What differs between Linux 6.1 and 6.12, and nothing else. */
#ifndef _HOMA_COMPAT_H
#define _HOMA_COMPAT_H

#include <linux/sysctl.h>
#include <linux/version.h>
#include <linux/udp.h>
#include <net/net_namespace.h>
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

/* Since 6.11 a table of sysctls is not its handlers' to change. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 11, 0)
#define homa_ctl_table_t const struct ctl_table
#else
#define homa_ctl_table_t struct ctl_table
#endif

/* Since 6.6 a table says its length; before, an empty entry ended it. */
static inline struct ctl_table_header *
homa_register_sysctl(struct net *net, struct ctl_table *table, size_t count)
{
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 6, 0)
	return register_net_sysctl_sz(net, "net/homa", table, count);
#else
	return register_net_sysctl(net, "net/homa", table);
#endif
}

#endif /* _HOMA_COMPAT_H */
