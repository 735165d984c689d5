// SPDX-License-Identifier: GPL-2.0
/*
 * What a namespace tells in /proc/net: counters in homa_metrics, sockets in
 * homa.
 */
#include <linux/cred.h>
#include <linux/proc_fs.h>
#include <linux/seq_file.h>
#include <linux/user_namespace.h>

#include "homa_impl.h"

static void homa_show(struct seq_file *seq, const char *name, u32 length,
		      u64 value)
{
	seq_printf(seq, "%-30.*s %20llu #\n", length, name, value);
}

/* The @index-th counter of one engine; false past the last. */
static bool homa_counter(struct homa_engine *engine, u32 index,
			 const u8 **name, u32 *length, u64 *value)
{
	bool more;

	homa_engine_lock(engine);
	more = homa_core_counter(engine->core, index, name, length, value);
	spin_unlock_bh(&engine->lock);
	return more;
}

/* The sums over the engines of the namespace. */
static int homa_metrics_show(struct seq_file *seq, void *unused)
{
	struct net *net = seq_file_single_net(seq);
	u64 failed = 0, refused = 0, refills = 0;
	u32 index, length, link;
	bool any = false, more;
	const u8 *name;

	rcu_read_lock();
	for (index = 0, more = true; more; index++) {
		u64 sum = 0, value;

		more = false;
		for (link = 0; link < HOMA_LINKS; link++) {
			struct homa_engine *engine = homa_engine_of(net, link);

			if (engine && homa_counter(engine, index, &name,
						   &length, &value)) {
				sum += value;
				more = true;
			}
		}
		if (more)
			homa_show(seq, name, length, sum);
	}
	for (link = 0; link < HOMA_LINKS; link++) {
		struct homa_engine *engine = homa_engine_of(net, link);

		if (!engine)
			continue;
		any = true;
		failed += atomic64_read(&engine->tx_errors);
		refused += READ_ONCE(engine->rx_refused);
		refills += READ_ONCE(engine->refills);
	}
	if (any) {
		homa_show(seq, "transmits_failed", 30, failed);
		homa_show(seq, "packets_not_kept", 30, refused);
		homa_show(seq, "table_refills", 30, refills);
	}
	rcu_read_unlock();
	return 0;
}

/* Whether whoever opened the file may see the socket: its owner, and root. */
static bool homa_may_see(const struct seq_file *seq, struct sock *sk)
{
	const struct cred *cred = seq->file->f_cred;

	return uid_eq(cred->euid, sock_i_uid(sk)) ||
	       file_ns_capable(seq->file, sock_net(sk)->user_ns,
			       CAP_NET_ADMIN);
}

/* One socket; under the lock. */
static void homa_sock_show(struct seq_file *seq, struct homa_sock *hs)
{
	struct sock *sk = homa_sock_sk(hs);

	seq_printf(seq, "%5u %4s %4s %6s %5u %5zu %10u %10u %10llu %10lu\n",
		   hs->port, hs->engine->link == HOMA_LINK_UDP ? "udp" : "ip",
		   sk->sk_family == AF_INET ? "v4" : "v6",
		   hs->server ? "server" : "client",
		   from_kuid_munged(seq_user_ns(seq), sock_i_uid(sk)),
		   list_count_nodes(&hs->rpcs), hs->arriving,
		   atomic_read(&hs->wmem), homa_pool_free_bytes(&hs->pool),
		   sock_i_ino(sk));
}

/* The sockets of an engine; its lock is let go of between two of them. */
static void homa_socks_show(struct seq_file *seq, struct homa_engine *engine)
{
	unsigned long index = 0;
	struct homa_sock *hs;

	do {
		homa_engine_lock(engine);
		hs = xa_find(&engine->socks, &index, ULONG_MAX, XA_PRESENT);
		if (hs && homa_may_see(seq, homa_sock_sk(hs)))
			homa_sock_show(seq, hs);
		spin_unlock_bh(&engine->lock);
		index++;
	} while (hs);
}

static int homa_sockets_show(struct seq_file *seq, void *unused)
{
	struct net *net = seq_file_single_net(seq);
	u32 link;

	seq_puts(seq, " port link  net   kind   uid  rpcs  receiving    sending     region      inode\n");
	rcu_read_lock();
	for (link = 0; link < HOMA_LINKS; link++) {
		struct homa_engine *engine = homa_engine_of(net, link);

		if (engine)
			homa_socks_show(seq, engine);
	}
	rcu_read_unlock();
	return 0;
}

int homa_proc_init(struct net *net)
{
	if (!proc_create_net_single("homa_metrics", 0444, net->proc_net,
				    homa_metrics_show, NULL))
		return -ENOMEM;
	if (proc_create_net_single("homa", 0444, net->proc_net,
				   homa_sockets_show, NULL))
		return 0;
	remove_proc_entry("homa_metrics", net->proc_net);
	return -ENOMEM;
}

void homa_proc_exit(struct net *net)
{
	remove_proc_entry("homa", net->proc_net);
	remove_proc_entry("homa_metrics", net->proc_net);
}
