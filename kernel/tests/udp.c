// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Homa in UDP datagrams: the module with itself, and with the program `homa`,
 * which speaks it from user space.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

static void the_module_talks_udp_with_itself(void)
{
	sockets_use_udp = true;
	start_far_echo(AF_INET, 400);
	echo_lengths(AF_INET, FAR_V4, 400);
	start_far_echo(AF_INET6, 401);
	echo_lengths(AF_INET6, FAR_V6, 401);
	/* A socket for IPv6 serves IPv4, too. */
	echo_lengths(AF_INET, FAR_V4, 401);
	echo_lengths(AF_INET6, "::ffff:" FAR_V4, 401);
}

static void the_module_talks_udp_through_losses(void)
{
	sockets_use_udp = true;
	net_loss(3);
	start_far_echo(AF_INET, 402);
	echo_lengths(AF_INET, FAR_V4, 402);
	net_loss(0);
}

static void packets_of_a_message_travel_as_one_in_udp(void)
{
	sockets_use_udp = true;
	long_messages_travel_as_one(403);
}

static void they_are_cut_in_udp_for_devices_that_cannot_take_them(void)
{
	sockets_use_udp = true;
	long_messages_are_cut(404);
}

static void cut_packets_are_joined_on_arrival_in_udp(void)
{
	sockets_use_udp = true;
	cut_messages_are_joined(405);
}

/* Runs `homa` in this namespace; @told: where its standard output goes. */
static pid_t start_homa(const char *const *arguments, int told)
{
	pid_t child = fork();

	CHECK(child >= 0);
	if (child)
		return child;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (told >= 0)
		dup2(told, STDOUT_FILENO);
	execv("/homa", (char *const *)arguments);
	_exit(127);
}

/* A server in user space, in the far namespace, that listens. */
static void start_far_user(const char *at)
{
	const char *const arguments[] = { "homa", "serve", "--listen", at,
					  NULL };
	char said[100] = {};
	int told[2];

	CHECK(!pipe(told));
	net_far();
	start_homa(arguments, told[1]);
	net_near();
	CHECK(read(told[0], said, sizeof(said) - 1) > 0);
	CHECK(strstr(said, "listening on"));
}

static void a_client_of_the_module_calls_user_space(void)
{
	sockets_use_udp = true;
	start_far_user(FAR_V4 ":410");
	echo_lengths(AF_INET, FAR_V4, 410);
	start_far_user("[" FAR_V6 "]:411");
	echo_lengths(AF_INET6, FAR_V6, 411);
}

static void a_client_of_the_module_calls_user_space_through_losses(void)
{
	sockets_use_udp = true;
	net_loss(3);
	start_far_user(FAR_V4 ":412");
	echo_lengths(AF_INET, FAR_V4, 412);
	net_loss(0);
}

static void file_write(const char *name, const uint8_t *bytes, size_t length)
{
	int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0600);

	CHECK(fd >= 0);
	while (length) {
		ssize_t written = write(fd, bytes, length);

		CHECK(written > 0);
		bytes += written;
		length -= written;
	}
	close(fd);
}

static void file_check(const char *name, const uint8_t *bytes, size_t length)
{
	uint8_t *found = malloc(length + 1);
	size_t had = 0;
	ssize_t part;
	int fd = open(name, O_RDONLY);

	CHECK(fd >= 0);
	while ((part = read(fd, found + had, length + 1 - had)) > 0)
		had += part;
	CHECK(had == length && !memcmp(found, bytes, length));
	close(fd);
	free(found);
}

/* One call by the program `homa`, whose response must be its request. */
static void user_calls(const char *server, size_t length)
{
	const char *const arguments[] = { "homa",   "call",  server,
					  "--file", "/sent", "--out",
					  "/back",  NULL };
	uint8_t *bytes = malloc(length);
	int status;

	pattern_fill(bytes, length, length);
	file_write("/sent", bytes, length);
	waitpid(start_homa(arguments, -1), &status, 0);
	CHECK(!status);
	file_check("/back", bytes, length);
	free(bytes);
}

static void user_space_calls_a_server_of_the_module(void)
{
	size_t i;

	sockets_use_udp = true;
	start_far_echo(AF_INET6, 420);
	for (i = 0; i < LENGTHS; i += 3) {
		user_calls(FAR_V4 ":420", lengths[i]);
		user_calls("[" FAR_V6 "]:420", lengths[i]);
	}
}

static void user_space_calls_a_server_of_the_module_through_losses(void)
{
	sockets_use_udp = true;
	net_loss(3);
	start_far_echo(AF_INET, 421);
	user_calls(FAR_V4 ":421", 100);
	user_calls(FAR_V4 ":421", 500000);
	net_loss(0);
}

static void a_udp_port_of_nobody_refuses(void)
{
	struct address v4 = address_of(FAR_V4, 499);
	struct address v6 = address_of(FAR_V6, 499);
	struct homa_socket s;
	uint8_t byte = 1;

	sockets_use_udp = true;
	socket_open(&s, AF_INET, 0);
	CHECK(!send_request(&s, &v4, &byte, 1, 0, 0, NULL));
	CHECK_ERRNO(receive(&s, 0, 0), ENOTCONN);
	socket_close(&s);
	socket_open(&s, AF_INET6, 0);
	CHECK(!send_request(&s, &v6, &byte, 1, 0, 0, NULL));
	CHECK_ERRNO(receive(&s, 0, 0), ENOTCONN);
}

static int udp_of(const struct homa_socket *s)
{
	socklen_t length = sizeof(int);
	int udp = -1;

	CHECK(!getsockopt(s->fd, IPPROTO_HOMA, SO_HOMA_UDP, &udp, &length));
	return udp;
}

static void set_udp(const struct homa_socket *s, int udp)
{
	CHECK(!setsockopt(s->fd, IPPROTO_HOMA, SO_HOMA_UDP, &udp,
			  sizeof(udp)));
}

/* Each kind has its ports; a port of UDP is shared with all of UDP. */
static void a_socket_moves_between_ip_and_udp(void)
{
	struct address at = address_of(FAR_V4, 430);
	struct homa_socket s, other;
	int one = 1, fd;

	socket_open(&s, AF_INET, 430);
	CHECK(udp_of(&s) == 0);
	set_udp(&s, 1);
	CHECK(udp_of(&s) == 1);
	/* The port of IP is free again, that of UDP is not. */
	socket_open(&other, AF_INET, 430);
	CHECK_ERRNO(setsockopt(other.fd, IPPROTO_HOMA, SO_HOMA_UDP, &one,
			       sizeof(one)),
		    EADDRINUSE);
	CHECK(udp_of(&other) == 0);
	socket_close(&s);
	/* A program that has the port of UDP keeps it. */
	fd = socket(AF_INET, SOCK_DGRAM, 0);
	at = address_of("0.0.0.0", 430);
	CHECK(!bind(fd, (struct sockaddr *)&at.storage, at.length));
	CHECK_ERRNO(setsockopt(other.fd, IPPROTO_HOMA, SO_HOMA_UDP, &one,
			       sizeof(one)),
		    EADDRINUSE);
	close(fd);
	set_udp(&other, 1);
	set_udp(&other, 1);
	set_udp(&other, 0);
	CHECK(udp_of(&other) == 0);
	CHECK_ERRNO(setsockopt(other.fd, IPPROTO_HOMA, SO_HOMA_UDP, &one, 3),
		    EINVAL);
}

static void a_socket_with_an_rpc_does_not_move(void)
{
	struct address to = address_of(FAR_V4, 431);
	struct homa_socket s;
	int one = 1;

	start_far_echo(AF_INET, 431);
	socket_open(&s, AF_INET, 0);
	echo_once(&s, &to, 100, 1);
	CHECK_ERRNO(setsockopt(s.fd, IPPROTO_HOMA, SO_HOMA_UDP, &one,
			       sizeof(one)),
		    EBUSY);
	shutdown(s.fd, SHUT_RDWR);
	CHECK_ERRNO(setsockopt(s.fd, IPPROTO_HOMA, SO_HOMA_UDP, &one,
			       sizeof(one)),
		    ESHUTDOWN);
	CHECK(udp_of(&s) == 0);
}

const struct test udp_tests[] = {
#define TEST(name) { #name, name }
	TEST(the_module_talks_udp_with_itself),
	TEST(the_module_talks_udp_through_losses),
	TEST(packets_of_a_message_travel_as_one_in_udp),
	TEST(they_are_cut_in_udp_for_devices_that_cannot_take_them),
	TEST(cut_packets_are_joined_on_arrival_in_udp),
	TEST(a_client_of_the_module_calls_user_space),
	TEST(a_client_of_the_module_calls_user_space_through_losses),
	TEST(user_space_calls_a_server_of_the_module),
	TEST(user_space_calls_a_server_of_the_module_through_losses),
	TEST(a_udp_port_of_nobody_refuses),
	TEST(a_socket_moves_between_ip_and_udp),
	TEST(a_socket_with_an_rpc_does_not_move),
	{},
};
