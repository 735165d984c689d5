// SPDX-License-Identifier: GPL-2.0
/* ioctl: ending RPCs, and what a socket holds. */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "homa_impl.h"

/* Ends one RPC of a client. Under the lock. */
static void homa_abort_one(struct homa_rpc *rpc, u32 error,
			   struct homa_turn *turn)
{
	u64 now = ktime_get_ns();

	if (rpc->state == HOMA_RPC_TAKEN || rpc->state == HOMA_RPC_DEAD)
		return;
	rpc->error = -(int)error;
	rpc->forget = !error;
	if (rpc->state == HOMA_RPC_UNDER_WAY)
		homa_core_abort(rpc->sock->engine->core, now, rpc->key);
	else if (!error)
		homa_rpc_kill(rpc, turn);
}

static int homa_abort(struct homa_sock *hs, u64 id, u32 error)
{
	struct homa_rpc *rpc, *next;
	struct homa_turn turn;
	int err = 0;

	homa_turn_init(&turn);
	homa_sock_lock(hs);
	if (hs->shut) {
		err = -ESHUTDOWN;
	} else if (id) {
		rpc = homa_rpc_find(hs, id, NULL, 0);
		if (rpc && homa_is_client(rpc->id))
			homa_abort_one(rpc, error, &turn);
		else
			err = -EINVAL;
	} else {
		list_for_each_entry_safe(rpc, next, &hs->rpcs, in_sock)
			if (rpc->id && homa_is_client(rpc->id))
				homa_abort_one(rpc, error, &turn);
	}
	homa_engine_settle(hs->engine, &turn);
	return err;
}

static int homa_ioc_abort(struct homa_sock *hs, void __user *arg)
{
	struct homa_abort_args args;

	if (copy_from_user(&args, arg, sizeof(args)))
		return -EFAULT;
	if (args.pad1 || args.pad2[0] || args.pad2[1] || args.error > MAX_ERRNO)
		return -EINVAL;
	return homa_abort(hs, args.id, args.error);
}

static u16 homa_rpc_flags(const struct homa_rpc *rpc)
{
	struct homa_pool *pool = &rpc->sock->pool;
	u16 flags = 0;

	if (rpc->private)
		flags |= HOMA_RPC_PRIVATE;
	if (rpc->state == HOMA_RPC_READY)
		flags |= HOMA_RPC_RX_READY;
	if (rpc->state == HOMA_RPC_READY && !rpc->error && pool->count &&
	    !homa_pool_has_room(pool, rpc->rx_length))
		flags |= HOMA_RPC_BUF_STALL;
	if (rpc->state == HOMA_RPC_TAKEN)
		flags |= HOMA_RPC_RX_COPY;
	return flags;
}

/* Under the lock. */
static void homa_describe(const struct homa_rpc *rpc,
			  struct homa_rpc_info *info)
{
	struct homa_core_standing standing = {};
	int length;

	memset(info, 0, sizeof(*info));
	info->id = rpc->id;
	homa_sockaddr_write(homa_sock_sk(rpc->sock), &rpc->peer, rpc->scope,
			    rpc->port, &info->peer, &length);
	info->completion_cookie = rpc->cookie;
	info->tx_length = rpc->out ? rpc->out->length : -1;
	info->rx_length = rpc->rx_length ? rpc->rx_length : -1;
	info->flags = homa_rpc_flags(rpc);
	if (rpc->attached)
		homa_core_standing(rpc->sock->engine->core, rpc->key,
				   &standing);
	else if (rpc->out && !rpc->error)
		standing.tx_sent = rpc->out->length;
	info->tx_sent = standing.tx_sent;
	info->tx_granted = max(standing.tx_granted, standing.tx_sent);
	info->tx_prio = standing.tx_priority;
	info->rx_remaining = standing.rx_missing;
	info->rx_gaps = standing.rx_gaps;
	info->rx_gap_bytes = standing.rx_gap_bytes;
	info->rx_granted = standing.rx_granted;
}

/* Describes as many RPCs as there is room for; counts all. */
static u32 homa_describe_all(struct homa_sock *hs, struct homa_rpc_info *infos,
			     u32 room, u32 *described)
{
	struct homa_rpc *rpc;
	u32 count = 0;

	*described = 0;
	homa_sock_lock(hs);
	list_for_each_entry(rpc, &hs->rpcs, in_sock) {
		count++;
		if (*described < room)
			homa_describe(rpc, &infos[(*described)++]);
	}
	spin_unlock_bh(&hs->engine->lock);
	return count;
}

static int homa_ioc_info(struct homa_sock *hs, void __user *arg)
{
	struct homa_rpc_info *infos = NULL;
	struct homa_info info;
	u32 room, described;
	int err = 0;

	if (copy_from_user(&info, arg, sizeof(info)))
		return -EFAULT;
	if (READ_ONCE(hs->shut))
		return -ESHUTDOWN;
	room = homa_describe_all(hs, NULL, 0, &described);
	room = min_t(u64, room, info.rpc_info_length / sizeof(*infos));
	if (room) {
		infos = kvmalloc_array(room, sizeof(*infos),
				       GFP_KERNEL_ACCOUNT);
		if (!infos)
			return -ENOMEM;
	}
	info.num_rpcs = homa_describe_all(hs, infos, room, &described);
	info.bpool_avail_bytes = homa_pool_free_bytes(&hs->pool);
	info.port = hs->port;
	memset(info.error_msg, 0, sizeof(info.error_msg));
	if (described &&
	    copy_to_user(u64_to_user_ptr(info.rpc_info), infos,
			 array_size(described, sizeof(*infos))))
		err = -EFAULT;
	else if (copy_to_user(arg, &info, sizeof(info)))
		err = -EFAULT;
	kvfree(infos);
	return err;
}

/* Of 32-bit programs, too: the layouts are the same. */
int homa_ioctl(struct socket *sock, unsigned int cmd, unsigned long arg)
{
	struct homa_sock *hs = homa_sk(sock->sk);
	void __user *argp = (void __user *)arg;

	switch (cmd) {
	case HOMAIOCABORT:
		return homa_ioc_abort(hs, argp);
	case HOMAIOCINFO:
		return homa_ioc_info(hs, argp);
	default:
		return -EINVAL;
	}
}
