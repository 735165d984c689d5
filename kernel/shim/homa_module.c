// SPDX-License-Identifier: GPL-2.0
/* Loading, unloading, network namespaces. */
#include <linux/module.h>
#include <linux/mutex.h>
#include <linux/nsproxy.h>
#include <linux/sched.h>
#include <linux/net.h>
#include <net/netns/generic.h>

#include "homa_impl.h"

#ifdef CONFIG_PREEMPT_RT
#error "the engine's lock and its guard need a kernel without PREEMPT_RT"
#endif

/**
 * struct homa_net - what a namespace has
 * @sysctl:  what its engines will be told
 * @engines: each comes with the first socket that needs it
 * @going:   the same, once packets find them no more
 */
struct homa_net {
	struct homa_sysctl sysctl;
	struct homa_engine __rcu *engines[HOMA_LINKS];
	struct homa_engine *going[HOMA_LINKS];
};

static unsigned int homa_net_id;

/* Whoever makes an engine. */
static DEFINE_MUTEX(homa_engine_mutex);

/* The engine of a namespace, NULL if it had no socket yet. Under RCU. */
struct homa_engine *homa_engine_of(struct net *net, enum homa_link link)
{
	struct homa_net *hn = net_generic(net, homa_net_id);

	return rcu_dereference(hn->engines[link]);
}

/* The same for a socket that lives: made if need be; NULL without memory. */
struct homa_engine *homa_engine_get(struct net *net, enum homa_link link)
{
	struct homa_net *hn = net_generic(net, homa_net_id);
	struct homa_engine *engine;

	/* A parameter may be set while the module loads. */
	if (!hn)
		return NULL;
	mutex_lock(&homa_engine_mutex);
	engine = rcu_dereference_protected(hn->engines[link],
					   lockdep_is_held(&homa_engine_mutex));
	if (!engine) {
		engine = homa_engine_create(net, link, &hn->sysctl.settings);
		rcu_assign_pointer(hn->engines[link], engine);
	}
	mutex_unlock(&homa_engine_mutex);
	return engine;
}

/* Changes what an engine is told; -EBUSY where one has been told already. */
int homa_engine_unless(struct net *net, int (*change)(void *), void *argument)
{
	struct homa_net *hn = net_generic(net, homa_net_id);
	int err = -EBUSY;

	mutex_lock(&homa_engine_mutex);
	if (!rcu_access_pointer(hn->engines[HOMA_LINK_IP]) &&
	    !rcu_access_pointer(hn->engines[HOMA_LINK_UDP]))
		err = change(argument);
	mutex_unlock(&homa_engine_mutex);
	return err;
}

static int __net_init homa_net_init(struct net *net)
{
	struct homa_net *hn = net_generic(net, homa_net_id);
	int err;

	err = homa_sysctl_init(&hn->sysctl, net);
	if (err)
		return err;
	err = homa_proc_init(net);
	if (err)
		homa_sysctl_exit(&hn->sysctl);
	return err;
}

/* Packets may still arrive: they find no engine before it goes. */
static void __net_exit homa_net_exit(struct list_head *nets)
{
	struct net *net;
	u32 link;

	list_for_each_entry(net, nets, exit_list) {
		struct homa_net *hn = net_generic(net, homa_net_id);

		homa_proc_exit(net);
		homa_sysctl_exit(&hn->sysctl);
		for (link = 0; link < HOMA_LINKS; link++)
			hn->going[link] = rcu_replace_pointer(hn->engines[link],
							      NULL, true);
	}
	synchronize_net();
	list_for_each_entry(net, nets, exit_list) {
		struct homa_net *hn = net_generic(net, homa_net_id);

		for (link = 0; link < HOMA_LINKS; link++)
			homa_engine_destroy(hn->going[link]);
	}
}

/*
 * Breaks an engine of the writer's namespace, so that a test sees what becomes
 * of it: /sys/module/homa/parameters/break_engine, for root.
 */
static int homa_break_engine(const char *value,
			     const struct kernel_param *param)
{
	struct homa_engine *engine = homa_engine_get(current->nsproxy->net_ns,
						     HOMA_LINK_IP);
	struct homa_turn turn;

	if (!engine)
		return -ENOMEM;
	homa_turn_init(&turn);
	homa_engine_lock(engine);
	homa_core_panic(engine->core);
	homa_engine_settle(engine, &turn);
	return 0;
}

static const struct kernel_param_ops homa_break_ops = {
	.set = homa_break_engine,
};

module_param_cb(break_engine, &homa_break_ops, NULL, 0200);
MODULE_PARM_DESC(break_engine, "for tests: writing it makes the engine panic");

static struct pernet_operations homa_net_ops = {
	.init = homa_net_init,
	.exit_batch = homa_net_exit,
	.id = &homa_net_id,
	.size = sizeof(struct homa_net),
};

static int __init homa_module_init(void)
{
	int err;

	err = homa_rpc_init();
	if (err)
		return err;
	err = homa_bursts_init();
	if (err)
		goto out_rpc;
	err = register_pernet_subsys(&homa_net_ops);
	if (err)
		goto out_bursts;
	err = homa_offload_init();
	if (err)
		goto out_net;
	err = homa_input_init();
	if (err)
		goto out_offload;
	err = homa_socket_init();
	if (err)
		goto out_input;
	return 0;
out_input:
	homa_input_exit();
out_offload:
	homa_offload_exit();
out_net:
	unregister_pernet_subsys(&homa_net_ops);
out_bursts:
	homa_bursts_exit();
out_rpc:
	homa_rpc_exit();
	return err;
}

/* Every socket holds the module, so none is open. */
static void __exit homa_module_exit(void)
{
	homa_socket_exit();
	homa_input_exit();
	homa_offload_exit();
	unregister_pernet_subsys(&homa_net_ops);
	homa_bursts_exit();
	homa_rpc_exit();
}

module_init(homa_module_init);
module_exit(homa_module_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Homa transport protocol");
MODULE_VERSION("0.1.0");
MODULE_ALIAS_NET_PF_PROTO_TYPE(PF_INET, 146, 2);
MODULE_ALIAS_NET_PF_PROTO_TYPE(PF_INET6, 146, 2);
