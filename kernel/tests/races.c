// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Ends of every kind in the middle of traffic. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "guest.h"

#define ROUNDS 30

/* Keeps messages of all lengths under way until the socket ends. */
static void flood(struct homa_socket *s, const struct address *to)
{
	uint8_t *bytes = malloc(200000);
	unsigned int i;

	pattern_fill(bytes, 200000, 0);
	for (i = 0;; i++) {
		if (send_request(s, to, bytes, 1 + i * 7919 % 200000, i, 0,
				 NULL) &&
		    errno == ESHUTDOWN)
			_exit(0);
		while (receive(s, 0, MSG_DONTWAIT) >= 0)
			;
		if (errno == ESHUTDOWN)
			_exit(0);
	}
}

static pid_t start_flood(struct homa_socket *s, const struct address *to)
{
	pid_t child = fork();

	CHECK(child >= 0);
	if (child == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		flood(s, to);
	}
	return child;
}

static void sockets_close_in_the_middle_of_traffic(void)
{
	struct address to = address_of(FAR_V4, 400);
	struct homa_socket s;
	unsigned int i;
	pid_t child;

	start_far_echo(AF_INET, 400);
	for (i = 0; i < ROUNDS; i++) {
		socket_open(&s, AF_INET, 0);
		child = start_flood(&s, &to);
		usleep(5000 + 1000 * i);
		if (i % 2) {
			shutdown(s.fd, SHUT_RDWR);
			waitpid(child, NULL, 0);
		} else {
			kill(child, SIGKILL);
			waitpid(child, NULL, 0);
		}
		socket_close(&s);
	}
}

static void servers_close_in_the_middle_of_traffic(void)
{
	struct address to = address_of(FAR_V4, 401);
	struct homa_socket s;
	unsigned int i;
	pid_t server;

	socket_open(&s, AF_INET, 0);
	start_flood(&s, &to);
	for (i = 0; i < ROUNDS; i++) {
		server = start_far_echo(AF_INET, 401);
		usleep(10000 + 1000 * i);
		kill(server, SIGKILL);
		waitpid(server, NULL, 0);
	}
}

static void rpcs_are_aborted_in_the_middle_of_traffic(void)
{
	struct address to = address_of(FAR_V4, 402);
	struct homa_abort_args args = {};
	struct homa_socket s;
	unsigned int i;

	start_far_echo(AF_INET, 402);
	socket_open(&s, AF_INET, 0);
	start_flood(&s, &to);
	start_flood(&s, &to);
	for (i = 0; i < 10 * ROUNDS; i++) {
		args.error = i % 3 ? ECANCELED : 0;
		CHECK(!ioctl(s.fd, HOMAIOCABORT, &args));
		usleep(1000);
	}
}

static void shutdown_wakes_whoever_waits(void)
{
	struct address to = address_of(FAR_V4, 403);
	struct homa_socket s, server;
	pid_t waiters[4];
	int i, status;
	uint64_t id;

	net_far();
	socket_open(&server, AF_INET, 403);
	net_near();
	socket_open(&s, AF_INET, 0);
	CHECK(!send_request(&s, &to, "x", 1, 0, HOMA_SENDMSG_PRIVATE, &id));
	for (i = 0; i < 4; i++) {
		waiters[i] = fork();
		CHECK(waiters[i] >= 0);
		if (waiters[i])
			continue;
		CHECK_ERRNO(receive(&s, i ? 0 : id, 0), ESHUTDOWN);
		_exit(0);
	}
	usleep(200000);
	CHECK_ERRNO(receive(&s, id, 0), EINVAL);
	CHECK(!shutdown(s.fd, SHUT_RDWR));
	for (i = 0; i < 4; i++) {
		CHECK(waitpid(waiters[i], &status, 0) > 0);
		CHECK(!status);
	}
}

static void namespaces_go_with_rpcs_under_way(void)
{
	struct address to = address_of("127.0.0.1", 404);
	unsigned int i;
	int status;
	pid_t child;

	for (i = 0; i < 5; i++) {
		child = fork();
		CHECK(child >= 0);
		if (child == 0) {
			struct homa_socket s, server;

			CHECK(!unshare(CLONE_NEWNET));
			link_up("lo");
			socket_open(&server, AF_INET, 404);
			socket_open(&s, AF_INET, 0);
			/* Nobody takes it. */
			CHECK(!send_request(&s, &to, "x", 1, 0, 0, NULL));
			_exit(0);
		}
		CHECK(waitpid(child, &status, 0) > 0);
		CHECK(!status);
	}
}

static void ports_are_reused_without_mercy(void)
{
	unsigned int i;

	for (i = 0; i < 200; i++) {
		struct homa_socket s;

		socket_open(&s, i % 2 ? AF_INET : AF_INET6, 405);
		socket_close(&s);
	}
}

/* In a namespace of its own, hence with an engine of its own, which is lost. */
static void a_panic_of_the_engine_ends_in_eio(void)
{
	struct address to = address_of("127.0.0.1", 406);
	struct pollfd poll_fd;
	struct homa_socket s, server;
	int fd, status, i;
	pid_t waiters[2];
	uint64_t id;

	CHECK(!unshare(CLONE_NEWNET));
	link_up("lo");
	socket_open(&server, AF_INET, 406);
	socket_open(&s, AF_INET, 0);
	/* Nobody takes it. */
	CHECK(!send_request(&s, &to, "x", 1, 0, HOMA_SENDMSG_PRIVATE, &id));
	for (i = 0; i < 2; i++) {
		waiters[i] = fork();
		CHECK(waiters[i] >= 0);
		if (waiters[i])
			continue;
		CHECK_ERRNO(receive(&s, i ? 0 : id, 0), EIO);
		_exit(0);
	}
	usleep(100000);
	fd = open("/sys/module/homa/parameters/break_engine", O_WRONLY);
	CHECK(fd >= 0);
	CHECK(write(fd, "1", 1) == 1);
	for (i = 0; i < 2; i++) {
		CHECK(waitpid(waiters[i], &status, 0) > 0);
		CHECK(!status);
	}
	CHECK_ERRNO(receive(&s, 0, 0), EIO);
	CHECK_ERRNO(send_request(&s, &to, "x", 1, 0, 0, NULL), EIO);
	CHECK(socket(AF_INET, SOCK_DGRAM, IPPROTO_HOMA) == -1 && errno == EIO);
	poll_fd = (struct pollfd){ .fd = s.fd, .events = POLLIN };
	CHECK(poll(&poll_fd, 1, 0) == 1 && poll_fd.revents & POLLERR);
	CHECK(!shutdown(s.fd, SHUT_RDWR));
	socket_close(&s);
	/* All others go on. */
	net_near();
	socket_open(&s, AF_INET, 0);
	to = address_of(FAR_V4, 406);
	start_far_echo(AF_INET, 406);
	echo_once(&s, &to, 5000, 1);
}

const struct test race_tests[] = {
#define TEST(name) { #name, name }
	TEST(sockets_close_in_the_middle_of_traffic),
	TEST(servers_close_in_the_middle_of_traffic),
	TEST(rpcs_are_aborted_in_the_middle_of_traffic),
	TEST(shutdown_wakes_whoever_waits),
	TEST(namespaces_go_with_rpcs_under_way),
	TEST(ports_are_reused_without_mercy),
	TEST(a_panic_of_the_engine_ends_in_eio),
	{},
};
