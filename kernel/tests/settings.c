// SPDX-License-Identifier: GPL-2.0 OR MIT
/* sysctls: which there are, what they take, and until when. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "guest.h"

static int setting_open(const char *name, int flags)
{
	char path[128];
	int fd;

	snprintf(path, sizeof(path), "/proc/sys/net/homa/%s", name);
	fd = open(path, flags | O_CLOEXEC);
	if (fd < 0)
		FAIL("%s: %s", path, strerror(errno));
	return fd;
}

static long setting_write(const char *name, const char *value)
{
	int fd = setting_open(name, O_WRONLY);
	long result = write(fd, value, strlen(value));
	int error = errno;

	close(fd);
	errno = error;
	return result;
}

static void setting_is(const char *name, const char *wanted)
{
	int fd = setting_open(name, O_RDONLY);
	char value[32] = {};

	CHECK(read(fd, value, sizeof(value) - 1) > 0);
	close(fd);
	value[strcspn(value, "\n")] = 0;
	if (strcmp(value, wanted))
		FAIL("%s is %s, not %s", name, value, wanted);
}

/* In a namespace to which nobody has given time, see net.c. */
static void settings_are_those_that_are_documented(void)
{
	static const char *const all[][2] = {
		{ "unsched_bytes", "40000" },
		{ "max_incoming", "400000" },
		{ "window", "0" },
		{ "max_overcommit", "8" },
		{ "num_priorities", "8" },
		{ "fifo_grant_increment", "50000" },
		{ "grant_fifo_fraction", "50" },
		{ "pacer_fifo_fraction", "50" },
		{ "link_mbps", "0" },
		{ "resend_ticks", "5" },
		{ "timeout_ticks", "100" },
		{ "request_ack_ticks", "2" },
	};
	size_t i;

	CHECK(!unshare(CLONE_NEWNET));
	for (i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		setting_is(all[i][0], all[i][1]);
}

static unsigned long long counter(const char *wanted)
{
	FILE *file = fopen("/proc/net/homa_metrics", "r");
	unsigned long long value;
	char name[64], line[256];

	CHECK(file);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%63s %llu", name, &value) == 2 &&
		    !strcmp(name, wanted)) {
			fclose(file);
			return value;
		}
	}
	FAIL("no counter %s", wanted);
}

/* In a namespace of its own, which no socket has yet given an engine. */
static void settings_are_checked_and_hold_from_the_first_socket_on(void)
{
	struct address to = address_of("127.0.0.1", 720);
	struct homa_socket server, s;
	uint8_t *bytes = calloc(1, 500000);

	CHECK(!unshare(CLONE_NEWNET));
	link_up("lo");
	CHECK_ERRNO(setting_write("num_priorities", "9"), EINVAL);
	CHECK_ERRNO(setting_write("num_priorities", "-1"), EINVAL);
	CHECK_ERRNO(setting_write("num_priorities", "many"), EINVAL);
	CHECK_ERRNO(setting_write("unsched_bytes", "4294967296"), EINVAL);
	/* A timeout is two intervals, or more. */
	CHECK_ERRNO(setting_write("resend_ticks", "51"), EINVAL);
	setting_is("num_priorities", "8");
	setting_is("resend_ticks", "5");
	CHECK(setting_write("unsched_bytes", "1000000") == 7);
	setting_is("unsched_bytes", "1000000");
	socket_open(&server, AF_INET, 720);
	socket_open(&s, AF_INET, 0);
	CHECK_ERRNO(setting_write("unsched_bytes", "6000"), EBUSY);
	setting_is("unsched_bytes", "1000000");
	/* Most of it would be granted if nothing were set. */
	CHECK(!send_request(&s, &to, bytes, 500000, 0, 0, NULL));
	CHECK(receive(&server, 0, 0) == 500000);
	CHECK(counter("grants_sent") == 0);
	free(bytes);
	/* Others have their own. */
	net_near();
	setting_is("unsched_bytes", "40000");
}

const struct test setting_tests[] = {
#define TEST(name) { #name, name }
	TEST(settings_are_those_that_are_documented),
	TEST(settings_are_checked_and_hold_from_the_first_socket_on),
	{},
};
