// SPDX-License-Identifier: GPL-2.0 OR MIT
/* Who pays for what was received: the socket, and its program's control group. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "guest.h"

#define LENGTH 300000
#define MESSAGES 8
#define GROUPS "/groups"
#define GROUP GROUPS "/test"

/* Messages that no program has taken yet. */
static unsigned int waiting(const struct homa_socket *s)
{
	struct homa_rpc_info rpcs[MESSAGES];
	struct homa_info info = {
		.rpc_info = (uintptr_t)rpcs,
		.rpc_info_length = sizeof(rpcs),
	};
	unsigned int i, count = 0;

	CHECK(!ioctl(s->fd, HOMAIOCINFO, &info));
	CHECK(info.num_rpcs <= MESSAGES);
	for (i = 0; i < info.num_rpcs; i++)
		count += rpcs[i].flags & HOMA_RPC_RX_READY ? 1 : 0;
	return count;
}

static void send_all(struct homa_socket *s, int port)
{
	struct address to = address_of("127.0.0.1", port);
	uint8_t *bytes = calloc(1, LENGTH);
	unsigned int i;

	for (i = 0; i < MESSAGES; i++)
		CHECK(!send_request(s, &to, bytes, LENGTH, i, 0, NULL));
	free(bytes);
}

static void receive_and_answer(struct homa_socket *server)
{
	struct address from;

	CHECK(receive(server, 0, 0) == LENGTH);
	from.storage = server->from;
	from.length = server->from_length;
	CHECK(!send_reply(server, &from, server->got.id, "y", 1));
}

static void a_socket_receives_no_more_than_its_limit(void)
{
	/* The kernel doubles it: two messages, and not a third. */
	int limit = LENGTH, looks;
	struct homa_socket server, s;
	unsigned int i;

	socket_open(&server, AF_INET, 710);
	socket_open(&s, AF_INET, 0);
	CHECK(!setsockopt(server.fd, SOL_SOCKET, SO_RCVBUFFORCE, &limit,
			  sizeof(limit)));
	send_all(&s, 710);
	for (looks = 0; looks < 30; looks++) {
		unsigned int now = waiting(&server);

		if (now > 2)
			FAIL("%u messages wait", now);
		usleep(1000);
	}
	for (i = 0; i < MESSAGES; i++)
		receive_and_answer(&server);
	for (i = 0; i < MESSAGES; i++)
		CHECK(receive(&s, 0, 0) == 1);
}

static void group_write(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		FAIL("%s: %s", file, strerror(errno));
	close(fd);
}

/* Bytes of memory of the group's sockets. */
static unsigned long group_sock(void)
{
	FILE *file = fopen(GROUP "/memory.stat", "r");
	unsigned long value;
	char line[128];

	CHECK(file);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "sock %lu", &value) == 1) {
			fclose(file);
			return value;
		}
	}
	FAIL("the group does not tell of its sockets");
}

static void group_join(const char *group)
{
	char file[64], self[16];

	snprintf(file, sizeof(file), "%s/cgroup.procs", group);
	snprintf(self, sizeof(self), "%d", getpid());
	group_write(file, self);
}

/* A server whose socket is the group's, and whose process is not. */
static void server_in_group(struct homa_socket *server, int port)
{
	if (mkdir(GROUPS, 0755) && errno != EEXIST)
		FAIL("no " GROUPS);
	if (access(GROUPS "/cgroup.procs", F_OK)) {
		CHECK(!mount("none", GROUPS, "cgroup2", 0, NULL));
		group_write(GROUPS "/cgroup.subtree_control", "+memory");
		CHECK(!mkdir(GROUP, 0755));
	}
	group_join(GROUP);
	socket_open(server, AF_INET, port);
	group_join(GROUPS);
}

static void a_control_group_pays_for_what_its_sockets_received(void)
{
	unsigned long least = MESSAGES * LENGTH, charged;
	struct homa_socket server, s;
	unsigned int i;
	int looks;

	server_in_group(&server, 711);
	socket_open(&s, AF_INET, 0);
	send_all(&s, 711);
	while (waiting(&server) < MESSAGES)
		;
	/* The kernel adds up now and then. */
	for (looks = 0; looks < 100; looks++) {
		charged = group_sock();
		if (charged >= least)
			break;
		usleep(50000);
	}
	if (charged < least)
		FAIL("the group pays for %lu bytes of %lu", charged, least);
	for (i = 0; i < MESSAGES; i++)
		receive_and_answer(&server);
	for (i = 0; i < MESSAGES; i++)
		CHECK(receive(&s, 0, 0) == 1);
	for (looks = 0; looks < 100; looks++) {
		charged = group_sock();
		if (charged < least / 4)
			break;
		usleep(50000);
	}
	if (charged >= least / 4)
		FAIL("the group still pays for %lu bytes", charged);
}

void refuse_one_of(const char *many)
{
	int fd = open("/sys/module/homa/parameters/refuse_one_of", O_WRONLY);

	CHECK(fd >= 0);
	CHECK(write(fd, many, strlen(many)) == (ssize_t)strlen(many));
	close(fd);
}

/* Until there is memory for it. */
static void send_patiently(struct homa_socket *s, const struct address *to,
			   const void *bytes, size_t length)
{
	while (send_request(s, to, bytes, length, 0, 0, NULL))
		CHECK(errno == ENOMEM);
}

/* One of seven allocations fails; every RPC ends, and its message is whole. */
static void failed_allocations_are_survived(void)
{
	static const size_t lengths[] = { 1, 1000, 5000, 70000 };
	struct address to = address_of(FAR_V4, 712);
	static uint8_t bytes[70000];
	unsigned int i, answered = 0;
	struct homa_socket s;

	start_far_echo(AF_INET, 712);
	socket_open(&s, AF_INET, 0);
	/* More than a message needs in a row, so that some come through. */
	refuse_one_of("7");
	for (i = 0; i < 40; i++) {
		size_t length = lengths[i % 4];
		long got;

		send_patiently(&s, &to, bytes, length);
		got = receive(&s, 0, 0);
		CHECK(got < 0 || got == (long)length);
		answered += got > 0;
	}
	refuse_one_of("0");
	CHECK(answered > 0);
	echo_once(&s, &to, HOMA_MAX_MESSAGE_LENGTH, 1);
	socket_close(&s);
}

/* Responses that have come when their RPC fails, which nobody will read. */
static void fail_after_responses(struct homa_socket *s,
				 const struct address *to, unsigned int count)
{
	uint8_t *bytes = calloc(1, LENGTH);
	struct homa_abort_args why = { .error = EIO };
	uint64_t id;

	while (count--) {
		CHECK(!send_request(s, to, bytes, LENGTH, 0, 0, &id));
		while (!waiting(s))
			usleep(100);
		why.id = id;
		CHECK(!ioctl(s->fd, HOMAIOCABORT, &why));
		CHECK_ERRNO(receive(s, 0, 0), EIO);
	}
	free(bytes);
}

static void what_came_of_an_rpc_that_failed_is_freed(void)
{
	struct address to = address_of(FAR_V4, 713);
	const unsigned int count = 100;
	unsigned long before, after;
	struct homa_socket s;

	start_far_echo(AF_INET, 713);
	socket_open(&s, AF_INET, 0);
	/* From then on nobody takes memory that stays. */
	fail_after_responses(&s, &to, 10);
	before = memory_used();
	fail_after_responses(&s, &to, count);
	after = memory_used();
	if (after > before + count * (LENGTH / 1024) / 4)
		FAIL("memory grew from %lu to %lu kB", before, after);
	socket_close(&s);
}

const struct test charge_tests[] = {
#define TEST(name) { #name, name }
	TEST(a_socket_receives_no_more_than_its_limit),
	TEST(a_control_group_pays_for_what_its_sockets_received),
	TEST(failed_allocations_are_survived),
	TEST(what_came_of_an_rpc_that_failed_is_freed),
	{},
};
