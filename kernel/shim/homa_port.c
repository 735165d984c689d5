// SPDX-License-Identifier: GPL-2.0
/*
 * Ports of sockets, and the engine that a socket belongs to. Whoever changes
 * one of them holds the socket's own lock, since that may sleep.
 */
#include "homa_impl.h"

/* Ports that clients are given. */
#define HOMA_DEFAULT_PORTS (0x10000 - HOMA_MIN_DEFAULT_PORT)

/* How many ports are tried that programs may have taken for UDP. */
#define HOMA_UDP_TRIES 64

/* The socket of a port. Under RCU or the engine's lock. */
struct homa_sock *homa_sock_lookup(struct homa_engine *engine, u16 port)
{
	struct homa_sock *hs;

	hash_for_each_possible_rcu(engine->ports, hs, by_port, port,
				   lockdep_is_held(&engine->lock))
		if (hs->port == port)
			return hs;
	return NULL;
}

/* Takes the lock of the socket's engine, which stays the same from then on. */
void homa_sock_lock(struct homa_sock *hs)
	__acquires(&hs->engine->lock)
{
	struct homa_engine *engine;

	for (;;) {
		engine = READ_ONCE(hs->engine);
		homa_engine_lock(engine);
		if (likely(engine == hs->engine))
			return;
		spin_unlock_bh(&engine->lock);
	}
}

/* Opens @port for the socket, in the core and in the table. Under the lock. */
static int homa_port_open(struct homa_sock *hs, u16 port)
{
	struct homa_engine *engine = hs->engine;
	int index, err;

	index = homa_core_open(engine->core, port, hs->server);
	if (index < 0)
		return index;
	err = xa_err(xa_store(&engine->socks, index, hs,
			      GFP_ATOMIC | __GFP_NOWARN));
	if (err) {
		homa_core_close(engine->core, ktime_get_ns(), index);
		return err;
	}
	hs->index = index;
	hs->port = port;
	hs->inet.inet_num = port;
	hs->inet.inet_sport = htons(port);
	hash_add_rcu(engine->ports, &hs->by_port, port);
	return 0;
}

/* Under the lock. */
void homa_port_close(struct homa_sock *hs)
{
	struct homa_engine *engine = hs->engine;

	hash_del_rcu(&hs->by_port);
	xa_erase(&engine->socks, hs->index);
	homa_core_close(engine->core, ktime_get_ns(), hs->index);
}

/* Gives a new socket a port that nobody has. Under the lock. */
static int homa_port_choose(struct homa_sock *hs)
{
	struct homa_engine *engine = hs->engine;
	u32 tries;

	for (tries = 0; tries < HOMA_DEFAULT_PORTS; tries++) {
		u16 port = engine->next_port++ | HOMA_MIN_DEFAULT_PORT;

		if (!homa_sock_lookup(engine, port))
			return homa_port_open(hs, port);
	}
	return -EADDRNOTAVAIL;
}

/* Gives a socket that is shut @port, 0: any, and opens it. */
static int homa_port_take(struct homa_sock *hs, u16 port)
{
	struct homa_turn turn;
	int err;

	homa_turn_init(&turn);
	homa_sock_lock(hs);
	if (!port)
		err = homa_port_choose(hs);
	else if (homa_sock_lookup(hs->engine, port))
		err = -EADDRINUSE;
	else
		err = homa_port_open(hs, port);
	WRITE_ONCE(hs->shut, err);
	homa_engine_settle(hs->engine, &turn);
	return err;
}

/* Gives the port of a socket without RPCs up, which is shut from then on. */
static void homa_port_leave(struct homa_sock *hs)
{
	struct homa_turn turn;

	homa_turn_init(&turn);
	homa_sock_lock(hs);
	homa_port_close(hs);
	WRITE_ONCE(hs->shut, true);
	homa_engine_settle(hs->engine, &turn);
}

/*
 * Opens a socket that is shut at @port, 0: any that is free, with UDP where the
 * socket is for that.
 */
int homa_port_claim(struct homa_sock *hs, u16 port)
{
	u32 tries;
	int err;

	for (tries = 0; tries < HOMA_UDP_TRIES; tries++) {
		err = homa_port_take(hs, port);
		if (err || hs->engine->link != HOMA_LINK_UDP)
			return err;
		hs->udp = homa_udp_open(hs, hs->port);
		if (!IS_ERR(hs->udp))
			return 0;
		err = PTR_ERR(hs->udp);
		hs->udp = NULL;
		homa_port_leave(hs);
		if (port || err != -EADDRINUSE)
			return err;
	}
	return err;
}

/* Takes the place of the port that the socket has. Under the lock. */
static int homa_rebind(struct homa_sock *hs, u16 port)
{
	struct homa_sock *other = homa_sock_lookup(hs->engine, port);
	u16 old_port = hs->port;
	bool server = hs->server;
	int err;

	if (hs->shut)
		return -ESHUTDOWN;
	if (other && other != hs)
		return -EADDRINUSE;
	hs->server = true;
	if (other) {
		homa_core_accept(hs->engine->core, hs->index, true);
		return 0;
	}
	homa_port_close(hs);
	err = homa_port_open(hs, port);
	if (err) {
		hs->server = server;
		/* The memory of the old port is free: it is there again. */
		if (homa_port_open(hs, old_port))
			WRITE_ONCE(hs->shut, true);
	}
	return err;
}

/* The same with the socket of UDP that belongs to it. */
static int homa_rebind_all(struct homa_sock *hs, u16 port)
{
	struct socket *udp = NULL;
	struct homa_turn turn;
	int err;

	if (hs->udp && port != hs->port) {
		udp = homa_udp_open(hs, port);
		if (IS_ERR(udp))
			return PTR_ERR(udp);
	}
	homa_turn_init(&turn);
	homa_sock_lock(hs);
	err = homa_rebind(hs, port);
	homa_engine_settle(hs->engine, &turn);
	if (!err && udp)
		swap(hs->udp, udp);
	homa_udp_close(udp);
	return err;
}

int homa_port_bind(struct homa_sock *hs, u16 port)
{
	struct sock *sk = homa_sock_sk(hs);
	int err;

	if (!port)
		return 0;
	if (port >= HOMA_MIN_DEFAULT_PORT)
		return -EINVAL;
	lock_sock(sk);
	err = homa_rebind_all(hs, port);
	release_sock(sk);
	return err;
}

/* Takes a socket out of its engine; from then on it belongs to @to. */
static int homa_sock_leave(struct homa_sock *hs, struct homa_engine *to)
{
	struct homa_engine *from = hs->engine;
	struct homa_turn turn;
	int err = 0;

	homa_turn_init(&turn);
	homa_sock_lock(hs);
	if (hs->shut)
		err = -ESHUTDOWN;
	else if (hs->used)
		err = -EBUSY;
	if (!err) {
		homa_port_close(hs);
		WRITE_ONCE(hs->shut, true);
		WRITE_ONCE(hs->engine, to);
	}
	homa_engine_settle(from, &turn);
	if (!err) {
		homa_udp_close(hs->udp);
		hs->udp = NULL;
	}
	return err;
}

static int homa_move(struct homa_sock *hs, struct homa_engine *to)
{
	struct homa_engine *from = hs->engine;
	u16 port = hs->port < HOMA_MIN_DEFAULT_PORT ? hs->port : 0;
	int err;

	if (from == to)
		return 0;
	err = homa_sock_leave(hs, to);
	if (err)
		return err;
	err = homa_port_claim(hs, port);
	if (err) {
		/* Shut, and in no table: nobody looks at its engine. */
		WRITE_ONCE(hs->engine, from);
		homa_port_claim(hs, port);
	}
	return err;
}

/*
 * Has the packets of a socket that had no RPC yet travel in @link. A port that
 * it was bound to it keeps; if somebody else has that, nothing changes.
 */
int homa_sock_move(struct homa_sock *hs, enum homa_link link)
{
	struct sock *sk = homa_sock_sk(hs);
	struct homa_engine *engine = homa_engine_get(sock_net(sk), link);
	int err;

	if (!engine)
		return -ENOMEM;
	lock_sock(sk);
	err = homa_move(hs, engine);
	release_sock(sk);
	return err;
}
