// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Programs of user space on another machine, the one that runs this guest: they
 * serve at ports 800 to 803, in IP and in UDP, and call 810 and 811 until that
 * goes well (xtask/src/kernel/neighbour.rs).
 */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "guest.h"

/* What the neighbour says when everything that it sent came back. */
#define WHOLE "whole"

static void servers_of_another_machine_answer(void)
{
	net_neighbour();
	echo_lengths(AF_INET, NEIGHBOUR_V4, 800);
	echo_lengths(AF_INET6, NEIGHBOUR_V6, 801);
	sockets_use_udp = true;
	echo_lengths(AF_INET, NEIGHBOUR_V4, 802);
	echo_lengths(AF_INET6, NEIGHBOUR_V6, 803);
}

static void programs_of_another_machine_call(void)
{
	char said[sizeof(WHOLE)] = {};
	struct homa_socket s;

	start_echo(net_neighbour, AF_INET6, 810);
	sockets_use_udp = true;
	start_echo(net_neighbour, AF_INET6, 811);
	net_neighbour();
	socket_open(&s, AF_INET, 812);
	CHECK(receive(&s, 0, 0) == strlen(WHOLE));
	received_bytes(&s, said, strlen(WHOLE));
	CHECK(!strcmp(said, WHOLE));
	socket_close(&s);
}

const struct test neighbour_tests[] = {
#define TEST(name) { #name, name }
	TEST(servers_of_another_machine_answer),
	TEST(programs_of_another_machine_call),
	{},
};
