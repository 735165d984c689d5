// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Mixed traffic with losses for minutes, and how much memory it takes: what it
 * takes at the end must be what it took after the first quarter.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

#define PORT_V4 700
#define PORT_V6 701
#define LOSS_PERCENT 1
#define SAMPLE_SECONDS 5

/* What may come on top meanwhile: caches of the processors, queues in use. */
#define GROWTH_MAX_KB 4096

/* Of all clients together; shared by their processes. */
struct tally {
	_Atomic uint64_t rpcs;
	_Atomic uint64_t bytes;
	_Atomic uint64_t failed;
};

static struct tally *tally;
static uint8_t payload[HOMA_MAX_MESSAGE_LENGTH];

/* Mostly short, now and then as long as may be. */
static size_t any_length(void)
{
	size_t limits[] = { 100, 100, 100, 1400, 1400, 10000, 10000, 100000,
			    HOMA_MAX_MESSAGE_LENGTH };
	size_t limit = limits[random() % (sizeof(limits) / sizeof(limits[0]))];

	return 1 + random() % limit;
}

static void count(long length)
{
	if (length < 0) {
		atomic_fetch_add(&tally->failed, 1);
		return;
	}
	atomic_fetch_add(&tally->rpcs, 1);
	atomic_fetch_add(&tally->bytes, 2 * length);
}

/* One after another, each asked for by its id. */
static void call_privately(struct homa_socket *s, const struct address *to)
{
	uint64_t id;

	for (;;) {
		CHECK(!send_request(s, to, payload, any_length(), 0,
				    HOMA_SENDMSG_PRIVATE, &id));
		count(receive(s, id, 0));
	}
}

/* Tens at a time; now and then all of them are ended. */
static void call_in_crowds(struct homa_socket *s, const struct address *to)
{
	struct homa_abort_args all = {};
	unsigned int turn, i;

	for (turn = 0;; turn++) {
		for (i = 0; i < 30; i++)
			CHECK(!send_request(s, to, payload, any_length(), 0, 0,
					    NULL));
		if (turn % 8 == 7) {
			CHECK(!ioctl(s->fd, HOMAIOCABORT, &all));
			continue;
		}
		for (i = 0; i < 30; i++)
			count(receive(s, 0, 0));
	}
}

/* A socket for each call, closed with another under way. */
static void call_and_close(struct homa_socket *s, const struct address *to)
{
	struct homa_socket once;

	for (;;) {
		socket_open(&once, s->family, 0);
		CHECK(!send_request(&once, to, payload, any_length(), 0, 0,
				    NULL));
		count(receive(&once, 0, 0));
		CHECK(!send_request(&once, to, payload, any_length(), 0, 0,
				    NULL));
		socket_close(&once);
	}
}

static void start_client(int family, void (*run)(struct homa_socket *,
						 const struct address *))
{
	struct address to = address_of(family == AF_INET ? FAR_V4 : FAR_V6,
				       family == AF_INET ? PORT_V4 : PORT_V6);
	struct homa_socket s;
	pid_t child = fork();

	CHECK(child >= 0);
	if (child)
		return;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	srandom(getpid());
	socket_open(&s, family, 0);
	run(&s, &to);
}

static unsigned long memory_field(const char *name)
{
	FILE *file = fopen("/proc/meminfo", "r");
	unsigned long value;
	char line[128], field[64];

	CHECK(file);
	while (fgets(line, sizeof(line), file)) {
		if (sscanf(line, "%63[^:]: %lu kB", field, &value) == 2 &&
		    !strcmp(field, name)) {
			fclose(file);
			return value;
		}
	}
	FAIL("no %s in /proc/meminfo", name);
}

unsigned long memory_used(void)
{
	return memory_field("MemTotal") - memory_field("MemFree") -
	       memory_field("Buffers") - memory_field("Cached");
}

static unsigned long seconds_now(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec;
}

/* The least that is used between two moments: what stays, not what passes. */
static unsigned long least_until(unsigned long end)
{
	unsigned long least = ~0UL;

	while (seconds_now() < end) {
		unsigned long used;

		sleep(SAMPLE_SECONDS);
		used = memory_used();
		least = used < least ? used : least;
		printf("soak: %llu RPCs, %llu failed, %lu kB used\n",
		       (unsigned long long)tally->rpcs,
		       (unsigned long long)tally->failed, used);
	}
	return least;
}

static void traffic_of_minutes_leaves_the_memory_as_it_was(unsigned int minutes)
{
	unsigned long begin = seconds_now(), whole = 60UL * minutes;
	unsigned long early, late;
	uint64_t half_way;

	tally = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(tally != MAP_FAILED);
	pattern_fill(payload, sizeof(payload), 1);
	start_far_echo(AF_INET, PORT_V4);
	start_far_echo(AF_INET6, PORT_V6);
	net_loss(LOSS_PERCENT);
	start_client(AF_INET, call_privately);
	start_client(AF_INET6, call_privately);
	start_client(AF_INET, call_in_crowds);
	start_client(AF_INET6, call_in_crowds);
	start_client(AF_INET, call_and_close);
	least_until(begin + whole / 4);
	early = least_until(begin + whole / 2);
	half_way = tally->rpcs;
	least_until(begin + whole * 3 / 4);
	late = least_until(begin + whole);
	if (late > early + GROWTH_MAX_KB)
		FAIL("memory grew from %lu to %lu kB", early, late);
	CHECK(tally->rpcs > half_way + half_way / 2);
	printf("figure %llu RPCs with %llu MB in %u min, %llu failed, "
	       "%lu kB in use at first, %lu kB in the end\n",
	       (unsigned long long)tally->rpcs,
	       (unsigned long long)tally->bytes / 1000000, minutes,
	       (unsigned long long)tally->failed, early, late);
}

/* Not in a table: it takes minutes, and is asked for. */
void soak(unsigned int minutes)
{
	int status = 1;
	pid_t child = fork();

	if (child == 0) {
		setpgid(0, 0);
		traffic_of_minutes_leaves_the_memory_as_it_was(minutes);
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, &status, 0);
	kill(-child, SIGKILL);
	net_loss(0);
	report("minutes of traffic leave the memory as it was", !status,
	       "see above");
}
