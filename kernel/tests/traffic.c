// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Messages across the cable, whole and in order of nothing. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

/* Has messages of every length come back from a server. */
static void echo_all(int family, const char *far, int port)
{
	start_far_echo(family, port);
	echo_lengths(family, far, port);
}

static void all_lengths_go_both_ways_over_ipv4(void)
{
	echo_all(AF_INET, FAR_V4, 100);
}

static void all_lengths_go_both_ways_over_ipv6(void)
{
	echo_all(AF_INET6, FAR_V6, 101);
}

static void an_ipv6_socket_talks_to_ipv4_peers(void)
{
	echo_all(AF_INET6, "::ffff:" FAR_V4, 102);
}

static void all_lengths_survive_losses(void)
{
	net_loss(3);
	echo_all(AF_INET, FAR_V4, 103);
	net_loss(0);
}

static void a_host_talks_to_itself(void)
{
	struct address to = address_of("127.0.0.1", 104);
	struct homa_socket server, client;
	pid_t child;
	size_t i;

	socket_open(&server, AF_INET, 104);
	child = fork();
	CHECK(child >= 0);
	if (child == 0)
		serve_echo(&server);
	socket_open(&client, AF_INET, 0);
	for (i = 0; i < LENGTHS; i++)
		echo_once(&client, &to, lengths[i], i + 7);
}

#define MANY 300

static void hundreds_of_rpcs_run_at_a_time(void)
{
	struct address to = address_of(FAR_V4, 105);
	static bool seen[MANY];
	uint8_t bytes[3000], back[3000];
	struct homa_socket s;
	unsigned int i;

	start_far_echo(AF_INET, 105);
	socket_open(&s, AF_INET, 0);
	for (i = 0; i < MANY; i++) {
		pattern_fill(bytes, sizeof(bytes), i);
		CHECK(!send_request(&s, &to, bytes, 1 + 10 * i % 3000, i, 0,
				    NULL));
	}
	for (i = 0; i < MANY; i++) {
		long length = receive(&s, 0, 0);
		unsigned int cookie = s.got.completion_cookie;

		CHECK(length == 1 + 10 * (long)cookie % 3000);
		CHECK(cookie < MANY && !seen[cookie]);
		seen[cookie] = true;
		received_bytes(&s, back, length);
		pattern_fill(bytes, sizeof(bytes), cookie);
		CHECK(!memcmp(bytes, back, length));
	}
	socket_close(&s);
}

#define SHARERS 4
#define SHARES 50

/* Processes that inherited the socket are threads to it. */
static void clients_and_servers_share_sockets(void)
{
	struct address to = address_of(FAR_V4, 106);
	struct homa_socket server, client;
	uint8_t bytes[100];
	int i, j, status;

	net_far();
	socket_open(&server, AF_INET, 106);
	net_near();
	for (i = 0; i < SHARERS; i++)
		if (!fork())
			serve_echo(&server);
	socket_open(&client, AF_INET, 0);
	for (i = 0; i < SHARERS; i++) {
		if (fork())
			continue;
		for (j = 0; j < SHARES; j++) {
			pattern_fill(bytes, sizeof(bytes), i * SHARES + j);
			CHECK(!send_request(&client, &to, bytes, sizeof(bytes),
					    j, 0, NULL));
			CHECK(receive(&client, 0, 0) == sizeof(bytes));
		}
		_exit(0);
	}
	for (i = 0; i < SHARERS; i++) {
		CHECK(wait(&status) > 0);
		CHECK(!status);
	}
}

static void long_messages_leave_the_region_whole(void)
{
	struct address to = address_of(FAR_V4, 107);
	struct homa_socket s;
	unsigned int i;

	start_far_echo(AF_INET, 107);
	socket_open(&s, AF_INET, 0);
	/* More than the region holds, were a page of it ever lost. */
	for (i = 0; i < 12; i++)
		echo_once(&s, &to, 1000000 - 1000 * i, i);
	socket_close(&s);
}

static void ready_messages_wait_for_room_in_the_region(void)
{
	struct address to = address_of(FAR_V4, 108);
	uint8_t *bytes = malloc(1000000);
	struct homa_recvmsg_args first;
	struct homa_socket s;
	unsigned int i;

	start_far_echo(AF_INET, 108);
	socket_open(&s, AF_INET, 0);
	pattern_fill(bytes, 1000000, 1);
	for (i = 0; i < 5; i++)
		CHECK(!send_request(&s, &to, bytes, 1000000, i, 0, NULL));
	/* Four take 15 pages and a share of a page each; the region has 64. */
	CHECK(receive(&s, 0, 0) == 1000000);
	first = s.got;
	for (i = 0; i < 3; i++) {
		s.got.num_bpages = 0;
		CHECK(receive(&s, 0, 0) == 1000000);
	}
	s.got.num_bpages = 0;
	usleep(300000);
	CHECK_ERRNO(receive(&s, 0, MSG_DONTWAIT), EAGAIN);
	s.got = first;
	CHECK(receive(&s, 0, 0) == 1000000);
	socket_close(&s);
}

static void packets_of_a_message_travel_as_one(void)
{
	long_messages_travel_as_one(109);
}

static void they_are_cut_for_devices_that_cannot_take_them(void)
{
	long_messages_are_cut(110);
}

static void cut_packets_are_joined_on_arrival(void)
{
	cut_messages_are_joined(112);
}

/* Packets that this namespace passed on. */
static unsigned long forwarded(void)
{
	FILE *file = fopen("/proc/net/snmp", "r");
	unsigned long count = 0;
	char line[400];

	CHECK(file);
	while (fgets(line, sizeof(line), file))
		if (sscanf(line, "Ip: %*d %*d %*d %*d %*d %lu", &count) == 1)
			break;
	fclose(file);
	return count;
}

/* What it joined to pass it on, and its next device does not take. */
static void a_host_that_forwards_cuts_what_it_joined(void)
{
	unsigned long cut, joined;

	net_beyond_make();
	start_echo(net_beyond, AF_INET, 115);
	net_gro(true);
	net_far();
	joined = forwarded();
	net_near();
	CHECK(packets_of_a_long_response(AF_INET, BEYOND_V4, 115) <
	      PACKETS_V4);
	net_far();
	joined = forwarded() - joined;
	net_beyond();
	cut = metric("packets_received");
	net_near();
	/* Those of the way back were forwarded, too. */
	if (cut < PACKETS_V4 || joined >= cut)
		FAIL("%lu packets were passed on, %lu came", joined, cut);
	net_gro(false);
}

const struct test traffic_tests[] = {
#define TEST(name) { #name, name }
	TEST(all_lengths_go_both_ways_over_ipv4),
	TEST(all_lengths_go_both_ways_over_ipv6),
	TEST(an_ipv6_socket_talks_to_ipv4_peers),
	TEST(a_host_talks_to_itself),
	TEST(all_lengths_survive_losses),
	TEST(hundreds_of_rpcs_run_at_a_time),
	TEST(clients_and_servers_share_sockets),
	TEST(long_messages_leave_the_region_whole),
	TEST(ready_messages_wait_for_room_in_the_region),
	TEST(packets_of_a_message_travel_as_one),
	TEST(they_are_cut_for_devices_that_cannot_take_them),
	TEST(cut_packets_are_joined_on_arrival),
	TEST(a_host_that_forwards_cuts_what_it_joined),
	{},
};
