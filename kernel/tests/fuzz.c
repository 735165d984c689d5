// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Calls of chance: processes of many threads that share sockets make them, in
 * both namespaces and in some of their own, and are killed after a moment, while
 * allocations and copies from and to programs fail.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "fuzz.h"

#define WORKERS 4
#define THREADS 5

/* How long a process makes calls before it is killed. */
#define LEAST_MS 300
#define MOST_MS 8000

/* A process that was killed is gone by then, or hangs. */
#define GONE_SECONDS 60

/* A wait is interrupted so often. */
#define SIGNAL_US 20000

/* Of so many allocations of the module one fails, wherever it happens. */
#define REFUSED_OF "60"

/* What all processes did. */
struct tally {
	_Atomic uint64_t calls[FUZZ_KINDS];
	_Atomic uint64_t good[FUZZ_KINDS];
};

static struct tally *tally;

struct worker {
	pid_t pid;
	uint64_t until_ms;
};

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ULL + now.tv_nsec / 1000000;
}

/* Has allocations and copies of threads that ask for it fail now and then. */
static void faults_make(void)
{
	static const char *const kinds[] = { "failslab", "fail_page_alloc",
					     "fail_usercopy" };
	static const char *const settings[][2] = {
		{ "probability", "1" }, { "interval", "1" }, { "times", "-1" },
		{ "verbose", "0" }, { "task-filter", "Y" },
	};
	char path[96];
	size_t i, j;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		for (j = 0; j < sizeof(settings) / sizeof(settings[0]); j++) {
			snprintf(path, sizeof(path),
				 "/sys/kernel/debug/%s/%s", kinds[i],
				 settings[j][0]);
			write_file(path, settings[j][1]);
		}
	}
	write_file("/sys/kernel/debug/failslab/ignore-gfp-wait", "N");
	write_file("/sys/kernel/debug/fail_page_alloc/ignore-gfp-wait", "N");
	write_file("/sys/kernel/debug/fail_page_alloc/min-order", "0");
}

static const struct fuzz_kind *any_kind(struct chance *c)
{
	unsigned int i, sum = 0, at;

	for (i = 0; i < FUZZ_KINDS; i++)
		sum += fuzz_kinds[i].weight;
	at = below(c, sum);
	for (i = 0; at >= fuzz_kinds[i].weight; i++)
		at -= fuzz_kinds[i].weight;
	return &fuzz_kinds[i];
}

/* One call; every fourth time something in the middle of it fails. */
static void call_once(struct chance *c, int fail_nth)
{
	static const enum mood moods[] = { RIGHT, RIGHT, RIGHT, ALMOST, ALMOST,
					   WILD };
	const struct fuzz_kind *kind = any_kind(c);
	bool fails = one_in(c, 4), good;
	char text[8];

	c->mood = moods[below(c, sizeof(moods) / sizeof(moods[0]))];
	snprintf(text, sizeof(text), "%u", 1 + below(c, 20));
	if (fails)
		pwrite(fail_nth, text, strlen(text), 0);
	good = kind->run(c) >= 0;
	if (fails)
		pwrite(fail_nth, "0", 1, 0);
	atomic_fetch_add(&tally->calls[kind - fuzz_kinds], 1);
	atomic_fetch_add(&tally->good[kind - fuzz_kinds], good);
}

static void *make_calls(void *seed)
{
	struct chance c = { .state = *(uint64_t *)seed | 1 };
	int fail_nth = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);

	write_file("/proc/thread-self/make-it-fail", "1");
	for (;;)
		call_once(&c, fail_nth);
	return NULL;
}

static void heard(int number)
{
}

/* Never returns. */
static void work(uint64_t seed, unsigned int place)
{
	struct itimerval often = { { 0, SIGNAL_US }, { 0, SIGNAL_US } };
	struct sigaction action = { .sa_handler = heard };
	static uint64_t seeds[THREADS];
	pthread_t thread;
	unsigned int i;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (place % 4 == 3) {
		CHECK(!unshare(CLONE_NEWNET));
		link_up("lo");
	} else if (place % 2) {
		net_far();
	}
	fuzz_calls_begin();
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (i = 0; i < THREADS; i++) {
		seeds[i] = (seed + i + 1) * 0x9e3779b97f4a7c15ULL;
		CHECK(!pthread_create(&thread, NULL, make_calls, &seeds[i]));
	}
	for (;;)
		pause();
}

static void worker_start(struct worker *worker, struct chance *c,
			 unsigned int place)
{
	uint64_t seed = any(c);

	worker->until_ms = now_ms() + LEAST_MS + below(c, MOST_MS - LEAST_MS);
	worker->pid = fork();
	CHECK(worker->pid >= 0);
	if (!worker->pid)
		work(seed, place);
}

/* What is killed in the middle of a call leaves it. */
static void worker_end(struct worker *worker)
{
	uint64_t patience_ms = GONE_SECONDS * 1000ULL * patience();
	uint64_t begin = now_ms();

	kill(worker->pid, SIGKILL);
	while (waitpid(worker->pid, NULL, WNOHANG) == 0) {
		if (now_ms() > begin + patience_ms)
			FAIL("a process that was killed does not end");
		usleep(1000);
	}
}

static void work_for(unsigned int seconds, struct chance *c)
{
	uint64_t end = now_ms() + 1000ULL * seconds;
	struct worker workers[WORKERS];
	unsigned int i;

	for (i = 0; i < WORKERS; i++)
		worker_start(&workers[i], c, i);
	while (now_ms() < end) {
		usleep(20000);
		for (i = 0; i < WORKERS; i++) {
			if (now_ms() < workers[i].until_ms)
				continue;
			worker_end(&workers[i]);
			worker_start(&workers[i], c, i);
		}
	}
	for (i = 0; i < WORKERS; i++)
		worker_end(&workers[i]);
}

static void tell(unsigned int seconds, unsigned int seed)
{
	uint64_t calls = 0, good = 0;
	unsigned int i;

	for (i = 0; i < FUZZ_KINDS; i++) {
		printf("fuzz: %s: %llu calls, %llu did as asked\n",
		       fuzz_kinds[i].name,
		       (unsigned long long)tally->calls[i],
		       (unsigned long long)tally->good[i]);
		calls += tally->calls[i];
		good += tally->good[i];
	}
	printf("figure %llu calls of chance in %u s with seed %u, of which "
	       "%llu did as asked\n", (unsigned long long)calls, seconds, seed,
	       (unsigned long long)good);
	for (i = 0; i < FUZZ_KINDS; i++)
		if (!tally->good[i])
			FAIL("no call did as asked: %s", fuzz_kinds[i].name);
}

static void calls_of_chance_do_no_harm(unsigned int seconds, unsigned int seed)
{
	struct address to = address_of(FAR_V4, 890);
	struct chance c = { .state = seed + 1ULL };
	struct homa_socket s;

	tally = mmap(NULL, sizeof(*tally), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	CHECK(tally != MAP_FAILED);
	faults_make();
	refuse_one_of(REFUSED_OF);
	work_for(seconds, &c);
	refuse_one_of("0");
	tell(seconds, seed);
	/* And the module still does what it is for. */
	start_far_echo(AF_INET, 890);
	socket_open(&s, AF_INET, 0);
	echo_once(&s, &to, HOMA_MAX_MESSAGE_LENGTH, 1);
}

/* Not in a table: it takes minutes, and is asked for. */
void fuzz(unsigned int seconds, unsigned int seed)
{
	int status = 1;
	pid_t child = fork();

	if (child == 0) {
		setpgid(0, 0);
		calls_of_chance_do_no_harm(seconds, seed);
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, &status, 0);
	kill(-child, SIGKILL);
	report("calls of chance do no harm", !status, "see above");
}
