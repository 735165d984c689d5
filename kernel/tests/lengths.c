// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Messages of every length, and the packets that they travel in: what tests of
 * Homa in IP and in UDP share.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "guest.h"

/*
 * A byte, about a packet (in UDP, in IP), what is sent unasked, and pages, and
 * the longest.
 */
const size_t lengths[LENGTHS] = { 1,	 100,	1416,  1417,   1424,
				  1425,	 5000,	39999, 40001,  65536,
				  65537, 131072, 500000, 1000000 };

void echo_lengths(int family, const char *far, int port)
{
	struct address to = address_of(far, port);
	struct homa_socket s;
	size_t i;

	socket_open(&s, family, 0);
	for (i = 0; i < LENGTHS; i++)
		echo_once(&s, &to, lengths[i], i + 1);
	socket_close(&s);
}

unsigned long metric(const char *name)
{
	FILE *file = fopen("/proc/net/homa_metrics", "r");
	char line[200], found[100];
	unsigned long value = 0;

	CHECK(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "%99s %lu", found, &value) == 2 &&
		    !strcmp(found, name))
			break;
	CHECK(!strcmp(found, name));
	fclose(file);
	return value;
}

unsigned long packets_of_a_long_response(int family, const char *far, int port)
{
	struct address to = address_of(far, port);
	unsigned long before;
	struct homa_socket s;

	socket_open(&s, family, 0);
	echo_once(&s, &to, 100, 1);
	before = metric("packets_received");
	echo_once(&s, &to, 500000, 2);
	socket_close(&s);
	return metric("packets_received") - before;
}

/* Some 40 are grants of the server. */
void long_messages_travel_as_one(int port)
{
	start_far_echo(AF_INET6, port);
	CHECK(packets_of_a_long_response(AF_INET, FAR_V4, port) < 200);
	CHECK(packets_of_a_long_response(AF_INET6, FAR_V6, port) < 200);
}

void long_messages_are_cut(int port)
{
	start_far_echo(AF_INET6, port);
	net_gso_max(3000);
	CHECK(packets_of_a_long_response(AF_INET, FAR_V4, port) >= PACKETS_V4);
	CHECK(packets_of_a_long_response(AF_INET6, FAR_V6, port) >=
	      PACKETS_V6);
	echo_lengths(AF_INET, FAR_V4, port);
	echo_lengths(AF_INET6, FAR_V6, port);
	net_gso_max(65536);
}

/* How many depends on when the device is polled. */
void cut_messages_are_joined(int port)
{
	start_far_echo(AF_INET6, port);
	net_gro(true);
	CHECK(packets_of_a_long_response(AF_INET, FAR_V4, port) < PACKETS_V4);
	CHECK(packets_of_a_long_response(AF_INET6, FAR_V6, port) < PACKETS_V6);
	echo_lengths(AF_INET, FAR_V4, port);
	net_loss(3);
	echo_lengths(AF_INET6, FAR_V6, port);
	net_loss(0);
	net_gro(false);
}
