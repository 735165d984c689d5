// SPDX-License-Identifier: GPL-2.0
/*
 * An engine and its lock: how a locked section ends, and the timer.
 */
#include <linux/random.h>
#include <linux/slab.h>

#include "homa_impl.h"

/* So long after a message found no memory its sender is asked for it again. */
#define HOMA_MEMORY_AGAIN msecs_to_jiffies(5)

/* What a processor needs for a turn of the core. Used with bottom halves off. */
struct homa_sender {
	struct homa_burst *burst;
	struct homa_core_turn wanted;
	struct homa_message *messages[HOMA_BURST_MAX];
};

static DEFINE_PER_CPU(struct homa_sender, homa_senders);

int homa_bursts_init(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct homa_sender *sender = per_cpu_ptr(&homa_senders, cpu);

		local_bh_disable();
		sender->burst = homa_core_burst_create();
		local_bh_enable();
		if (!sender->burst) {
			homa_bursts_exit();
			return -ENOMEM;
		}
	}
	return 0;
}

void homa_bursts_exit(void)
{
	int cpu;

	for_each_possible_cpu(cpu) {
		struct homa_sender *sender = per_cpu_ptr(&homa_senders, cpu);

		if (sender->burst)
			homa_core_burst_destroy(sender->burst);
		sender->burst = NULL;
	}
}

void homa_engine_lock(struct homa_engine *engine)
	__acquires(&engine->lock)
{
	spin_lock_bh(&engine->lock);
}

/* Does what the core's events say. */
static void homa_take_events(struct homa_engine *engine,
			     const struct homa_core_turn *wanted,
			     struct homa_turn *turn)
{
	u32 i;

	for (i = 0; i < wanted->events; i++)
		homa_rpc_event(engine, &wanted->event[i], turn);
}

/* Holds on to what it takes to send the burst when the lock is dropped. */
static struct homa_sock *homa_hold_burst(struct homa_engine *engine,
					 struct homa_sender *sender)
{
	struct homa_core_packet_view *view = &sender->wanted.packet, next;
	struct homa_message *message = NULL;
	struct homa_sock *hs;
	u64 key = 0;
	u32 i;

	for (i = 0; i < sender->wanted.packets; i++) {
		struct homa_rpc *rpc;

		sender->messages[i] = NULL;
		if (i) {
			view = &next;
			homa_core_burst_packet(sender->burst, i, view);
		}
		if (!view->length)
			continue;
		/* Most of a burst is of one message. */
		if (!message || view->rpc != key) {
			rpc = homa_rpc_of(engine, view->rpc);
			message = rpc ? rpc->out : NULL;
			key = view->rpc;
		}
		if (message)
			refcount_inc(&message->refs);
		sender->messages[i] = message;
	}
	hs = xa_load(&engine->socks, sender->wanted.path.socket);
	if (hs)
		sock_hold(homa_sock_sk(hs));
	return hs;
}

static void homa_send_held(struct homa_engine *engine,
			   struct homa_sender *sender, struct homa_sock *hs)
{
	u32 i;

	homa_send_burst(engine, hs, &sender->wanted, sender->burst,
			sender->messages);
	for (i = 0; i < sender->wanted.packets; i++)
		homa_message_put(sender->messages[i]);
	if (hs)
		sock_put(homa_sock_sk(hs));
}

/* Sets the timer to what the core waits for, unless it goes off before. */
static void homa_arm(struct homa_engine *engine, u64 deadline)
{
	if (deadline >= engine->armed)
		return;
	engine->armed = deadline;
	hrtimer_start(&engine->timer, ns_to_ktime(deadline),
		      HRTIMER_MODE_ABS_PINNED_SOFT);
}

/*
 * The core broke: everybody who waits is told. That happens once, so this may
 * wake threads under the lock.
 */
static void homa_give_up(struct homa_engine *engine)
{
	struct homa_sock *hs;
	struct homa_rpc *rpc;
	unsigned long index;

	engine->given_up = true;
	xa_for_each(&engine->socks, index, hs) {
		struct sock *sk = homa_sock_sk(hs);

		list_for_each_entry(rpc, &hs->rpcs, in_sock)
			wake_up_all(&rpc->wait);
		sk->sk_state_change(sk);
	}
}

/* What a locked section left: wakes, frees and drops. Without the lock. */
static void homa_turn_finish(struct homa_turn *turn)
{
	struct homa_rpc *rpc, *next;

	for (rpc = turn->wake; rpc; rpc = next) {
		struct sock *sk = homa_sock_sk(rpc->sock);

		next = rpc->next_wake;
		if (rpc->private)
			wake_up_all(&rpc->wait);
		else
			sk->sk_data_ready(sk);
		homa_rpc_put(rpc);
	}
	turn->wake = NULL;
	list_for_each_entry_safe(rpc, next, &turn->dead, in_sock) {
		if (rpc->private)
			wake_up_all(&rpc->wait);
		homa_rpc_put(rpc);
	}
	INIT_LIST_HEAD(&turn->dead);
	__skb_queue_purge(&turn->freed);
}

/*
 * Ends a locked section that gave the core nothing to do. @turn holds what the
 * section left to be done.
 */
void homa_engine_unlock(struct homa_engine *engine, struct homa_turn *turn)
	__releases(&engine->lock)
{
	spin_unlock_bh(&engine->lock);
	homa_turn_finish(turn);
}

/* Whether the tables should grow. Under the lock. */
static bool homa_needs_room(const struct homa_engine *engine)
{
	return engine->rpcs_now + HOMA_SPARE_RPCS / 2 > engine->rpcs_room &&
	       engine->rpcs_room < HOMA_RPCS_MAX;
}

/* Calls the worker if there is something for it. Under the lock. */
static void homa_engine_want(struct homa_engine *engine)
{
	if (unlikely(homa_needs_room(engine)))
		schedule_delayed_work(&engine->refill, 0);
	if (unlikely(engine->no_memory)) {
		engine->no_memory = false;
		schedule_delayed_work(&engine->refill, HOMA_MEMORY_AGAIN);
	}
}

/*
 * Makes @ask up for a call of the core, after which homa_engine_finish() is to
 * end the locked section.
 */
void homa_engine_ask(struct homa_engine *engine, struct homa_core_ask *ask)
{
	/* Bottom halves are off: the sender stays this processor's. */
	struct homa_sender *sender = this_cpu_ptr(&homa_senders);

	ask->now = ktime_get_ns();
	ask->given_back = engine->given_back;
	ask->burst = sender->burst;
	ask->turn = &sender->wanted;
	engine->given_back = 0;
}

/*
 * Ends a locked section after a call of the core: takes the core's events,
 * sends its packets and sets its timer. @turn holds what the section itself left
 * to be done.
 */
void homa_engine_finish(struct homa_engine *engine, struct homa_turn *turn)
	__releases(&engine->lock)
{
	struct homa_sender *sender = this_cpu_ptr(&homa_senders);
	struct homa_core_turn *wanted = &sender->wanted;
	u32 rounds = 0, packets = 0;
	struct homa_sock *hs = NULL;
	struct homa_core_ask ask;
	bool more, goes_on;

	for (;;) {
		if (unlikely(homa_core_is_broken(engine->core)) &&
		    !engine->given_up)
			homa_give_up(engine);
		homa_take_events(engine, wanted, turn);
		homa_engine_want(engine);
		if (wanted->packets)
			hs = homa_hold_burst(engine, sender);
		/* Events may have given the room of messages back. */
		more = wanted->more || engine->given_back;
		packets += wanted->packets;
		goes_on = more && ++rounds < HOMA_TURN_ROUNDS &&
			  packets < HOMA_TURN_PACKETS;
		if (!goes_on)
			homa_arm(engine, more ? 0 : wanted->deadline);
		spin_unlock(&engine->lock);
		if (wanted->packets)
			homa_send_held(engine, sender, hs);
		homa_turn_finish(turn);
		if (!goes_on)
			break;
		spin_lock(&engine->lock);
		homa_engine_ask(engine, &ask);
		homa_core_turn(engine->core, &ask);
	}
	/* That of homa_engine_lock(). */
	local_bh_enable();
}

/* Ends a locked section in which the core was told something by other calls. */
void homa_engine_settle(struct homa_engine *engine, struct homa_turn *turn)
	__releases(&engine->lock)
{
	struct homa_core_ask ask;

	homa_engine_ask(engine, &ask);
	homa_core_turn(engine->core, &ask);
	homa_engine_finish(engine, turn);
}

static enum hrtimer_restart homa_engine_timer(struct hrtimer *timer)
{
	struct homa_engine *engine =
		container_of(timer, struct homa_engine, timer);
	struct homa_core_ask ask;
	struct homa_turn turn;

	homa_turn_init(&turn);
	homa_engine_lock(engine);
	engine->armed = KTIME_MAX;
	homa_engine_ask(engine, &ask);
	homa_core_timeout(engine->core, &ask);
	homa_engine_finish(engine, &turn);
	return HRTIMER_NORESTART;
}

/* Has the tables grow where memory is easier to get than in a softirq. */
static void homa_engine_reserve(struct homa_engine *engine)
{
	u32 room;

	homa_engine_lock(engine);
	room = engine->rpcs_now + HOMA_SPARE_RPCS;
	/* Without memory packets try again. */
	homa_core_reserve(engine->core, HOMA_SPARE_RPCS, HOMA_SPARE_PEERS);
	homa_rpc_table_reserve(engine, room);
	engine->rpcs_room = max(engine->rpcs_room, room);
	spin_unlock_bh(&engine->lock);
}

static void homa_engine_refill(struct work_struct *work)
{
	struct homa_engine *engine =
		container_of(work, struct homa_engine, refill.work);
	struct homa_turn turn;

	homa_engine_reserve(engine);
	homa_turn_init(&turn);
	homa_engine_lock(engine);
	engine->refills++;
	homa_core_room_again(engine->core, ktime_get_ns());
	homa_engine_settle(engine, &turn);
}

struct homa_engine *homa_engine_create(struct net *net, enum homa_link link,
				       const struct homa_core_settings *settings)
{
	struct homa_engine *engine;
	u64 seed[2];

	engine = kvzalloc(sizeof(*engine), GFP_KERNEL_ACCOUNT);
	if (!engine)
		return NULL;
	engine->ways = homa_ways_create();
	if (!engine->ways) {
		kvfree(engine);
		return NULL;
	}
	get_random_bytes(seed, sizeof(seed));
	local_bh_disable();
	engine->core = homa_core_create(seed, settings, link == HOMA_LINK_UDP);
	local_bh_enable();
	if (!engine->core) {
		homa_ways_destroy(engine->ways);
		kvfree(engine);
		return NULL;
	}
	spin_lock_init(&engine->lock);
	engine->net = net;
	engine->link = link;
	hrtimer_init(&engine->timer, CLOCK_MONOTONIC, HRTIMER_MODE_ABS_SOFT);
	engine->timer.function = homa_engine_timer;
	engine->armed = KTIME_MAX;
	xa_init(&engine->socks);
	hash_init(engine->by_id);
	hash_init(engine->ports);
	INIT_DELAYED_WORK(&engine->refill, homa_engine_refill);
	homa_engine_reserve(engine);
	/* A start that others cannot guess. */
	engine->next_port = HOMA_MIN_DEFAULT_PORT |
			    (get_random_u32() & (HOMA_MIN_DEFAULT_PORT - 1));
	return engine;
}

/* Nobody uses it: its sockets are closed and its namespace goes. */
void homa_engine_destroy(struct homa_engine *engine)
{
	if (!engine)
		return;
	/* It may set the timer, which without sockets calls nobody. */
	cancel_delayed_work_sync(&engine->refill);
	hrtimer_cancel(&engine->timer);
	homa_core_destroy(engine->core);
	homa_ways_destroy(engine->ways);
	homa_rpc_table_destroy(engine);
	xa_destroy(&engine->socks);
	kvfree(engine);
}
