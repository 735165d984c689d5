/* SPDX-License-Identifier: GPL-2.0 */
/* What differs between Linux 6.1 and 6.12, and nothing else. */
#ifndef _HOMA_COMPAT_H
#define _HOMA_COMPAT_H

#include <linux/version.h>
#include <net/sock.h>

/* Since 6.5 a protocol says where its IPv6 part lies; before, at the end. */
#if LINUX_VERSION_CODE >= KERNEL_VERSION(6, 5, 0)
#define HOMA_PINFO_OFFSET(type, member) \
	.ipv6_pinfo_offset = offsetof(type, member),
#else
#define HOMA_PINFO_OFFSET(type, member)
#endif

#endif /* _HOMA_COMPAT_H */
