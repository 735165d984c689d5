// SPDX-License-Identifier: GPL-2.0 OR MIT
/* For a test: has protocol 146 of IPv6, so that nobody else can. */
#include <linux/module.h>
#include <net/protocol.h>

static int taker_input(struct sk_buff *skb)
{
	kfree_skb(skb);
	return 0;
}

static const struct inet6_protocol taker_protocol = {
	.handler = taker_input,
	.flags = INET6_PROTO_FINAL,
};

static int __init taker_init(void)
{
	return inet6_add_protocol(&taker_protocol, 146);
}

static void __exit taker_exit(void)
{
	inet6_del_protocol(&taker_protocol, 146);
}

module_init(taker_init);
module_exit(taker_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Takes protocol 146, for a test");
