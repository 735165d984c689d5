// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * The first program of the guest: loads the module, runs every test, unloads
 * it, looks at the log, and ends the machine.
 *
 * Each test ends with a line "test NAME ok" or "test NAME FAILED: why"; the run
 * with "guest: N passed, M failed".
 *
 * The same program serves two more ends: the kernel calls it as modprobe, and
 * compiled for 32 bits it runs the tests of the calls once more.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "guest.h"

/* A test that takes longer hangs, where nothing slows the kernel down. */
#define TEST_SECONDS 60

/* This program, compiled for 32 bits; not always there. */
#define NARROW_SELF "/init32"

static unsigned int passed, failed;

/* Stands before the names of tests that run again. */
static const char *again = "";

void fail(const char *file, int line, const char *format, ...)
{
	va_list arguments;

	printf("%s:%d: ", file, line);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	printf("\n");
	fflush(stdout);
	_exit(1);
}

/* A number that the kernel was told, and handed on in the environment. */
static unsigned int number_of(const char *name, unsigned int otherwise)
{
	const char *text = getenv(name);

	return text ? strtoul(text, NULL, 10) : otherwise;
}

void report(const char *name, bool good, const char *why)
{
	if (good) {
		passed++;
		printf("test %s%s ok\n", again, name);
	} else {
		failed++;
		printf("test %s%s FAILED: %s\n", again, name, why);
	}
	fflush(stdout);
}

unsigned int patience(void)
{
	return number_of("patience", 1);
}

/* Everything that the test started dies with it. */
static void run_test(const struct test *test)
{
	int status = 0;
	pid_t child;

	child = fork();
	if (child == 0) {
		setpgid(0, 0);
		alarm(TEST_SECONDS * patience());
		if (net_is_made())
			net_near();
		test->run();
		fflush(stdout);
		_exit(0);
	}
	waitpid(child, &status, 0);
	kill(-child, SIGKILL);
	while (waitpid(-child, NULL, WNOHANG) > 0)
		;
	if (WIFSIGNALED(status))
		report(test->name, false, strsignal(WTERMSIG(status)));
	else
		report(test->name, !status, "see above");
	if (status && net_is_made())
		net_restore();
}

static void run_tests(const struct test *tests)
{
	for (; tests->name; tests++)
		run_test(tests);
}

/* What the module and the tests need of the kernel. */
static void load_all(void)
{
	static const char *const names[] = { "/veth.ko", "/sch_netem.ko",
					     "/udp_tunnel.ko",
					     "/ip6_udp_tunnel.ko",
					     "/e1000.ko" };
	size_t i;

	for (i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		load(names[i]);
}

static void prepare(void)
{
	struct utsname kernel;

	setvbuf(stdout, NULL, _IOLBF, 0);
	uname(&kernel);
	printf("kernel %s, %s\n", kernel.release, kernel.version);
	mkdir("/proc", 0755);
	mkdir("/sys", 0755);
	mkdir("/dev", 0755);
	mount("proc", "/proc", "proc", 0, NULL);
	mount("sysfs", "/sys", "sysfs", 0, NULL);
	mount("devtmpfs", "/dev", "devtmpfs", 0, NULL);
	log_begin();
	signal(SIGPIPE, SIG_IGN);
}

void write_file(const char *name, const char *text)
{
	int fd = open(name, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		printf("%s: %s\n", name, strerror(errno));
	close(fd);
}

/* With @as_line its ends of lines are left out. */
static void print_file(const char *name, bool as_line)
{
	int letter;
	FILE *file = fopen(name, "r");

	while (file && (letter = getc(file)) != EOF)
		if (!as_line || letter != '\n')
			putchar(letter);
	if (file)
		fclose(file);
}

static const char *word_of(const char *name)
{
	const char *word = getenv(name);

	return word ? word : "";
}

/* `homa bench WHAT --link kernel`, and a line "bench WHAT " with its figures. */
static void run_bench(const char *what)
{
	const char *const words[] = {
		"homa",	     "bench",		 what,
		"--link",    "kernel",		 "--over",
		"veth",	     "--rounds",	 word_of("rounds"),
		"--seconds", word_of("seconds"), "--allow-dirty",
		"--json",    "/figures",	 NULL
	};
	int status = 0;
	pid_t child = fork();

	if (child == 0) {
		/* Not the console, to which progress would be shown. */
		int said = open("/said", O_WRONLY | O_CREAT | O_TRUNC, 0600);

		dup2(said, STDOUT_FILENO);
		dup2(said, STDERR_FILENO);
		execv("/homa", (char *const *)words);
		_exit(127);
	}
	waitpid(child, &status, 0);
	print_file("/said", false);
	report(what, !status, "see above");
	printf("bench %s ", what);
	print_file("/figures", true);
	printf("\n");
}

static void run_benches(void)
{
	/* What UDP asks for. */
	write_file("/proc/sys/net/core/rmem_max", "4194304");
	write_file("/proc/sys/net/core/wmem_max", "4194304");
	/* Namespaces begin with no device but loopback. */
	write_file("/proc/sys/net/core/fb_tunnels_only_for_init_net", "2");
	run_bench("rtt");
	run_bench("bulk");
}

/* The tests that programs of every width have to pass. */
static void run_call_tests(void)
{
	run_tests(call_tests);
	run_tests(surface_tests);
	run_tests(exposure_tests);
	run_tests(way_tests);
}

/* The same in a program of 32 bits, which prints its results itself. */
static void run_narrow(void)
{
	char keeper[16];
	int status = 1;
	pid_t child;

	if (access(NARROW_SELF, X_OK))
		return;
	snprintf(keeper, sizeof(keeper), "%d", net_far_keeper());
	fflush(stdout);
	child = fork();
	if (child == 0) {
		execl(NARROW_SELF, NARROW_SELF, "again", keeper, NULL);
		_exit(1);
	}
	waitpid(child, &status, 0);
	report("the calls serve programs of 32 bits", !status, "see above");
}

static int run_again(const char *keeper)
{
	again = "32-bit ";
	setvbuf(stdout, NULL, _IOLBF, 0);
	net_join(atoi(keeper));
	run_call_tests();
	return failed;
}

static void run_every_test(void)
{
	run_tests(traffic_tests);
	run_tests(udp_tests);
	run_call_tests();
	run_narrow();
	run_tests(hostile_tests);
	run_tests(corpus_tests);
	run_tests(charge_tests);
	run_tests(setting_tests);
	run_tests(listing_tests);
	run_tests(race_tests);
	if (getenv("neighbour")) {
		net_neighbour_make();
		run_tests(neighbour_tests);
	}
	run_tests(bench_tests);
}

/*
 * Every test once; or traffic for so many minutes; or calls of chance for so
 * many seconds.
 */
static void run_mission(void)
{
	unsigned int minutes = number_of("soak", 0);
	unsigned int seconds = number_of("fuzz", 0);

	net_make();
	if (minutes)
		soak(minutes);
	else if (seconds)
		fuzz(seconds, number_of("seed", 1));
	else
		run_every_test();
	net_far_end();
	if (leaks_are_watched())
		report("nothing leaks while the module is there",
		       nothing_leaked(), "see above");
	report("the module unloads", unload("homa"), strerror(errno));
	if (leaks_are_watched())
		report("no memory is left without an owner", nothing_leaked(),
		       "see above");
	/* One of the tests asks for a panic of the engine. */
	report("the log holds no complaint", log_is_clean(!minutes && !seconds),
	       "see above");
}

/*
 * The kernel hands words on that it does not know: "bench" asks for figures;
 * "rounds=NUMBER" and "seconds=NUMBER" of that, "soak=MINUTES", "fuzz=SECONDS",
 * "seed=NUMBER", "patience=TIMES", "neighbour=1" and "end=off" stand in the
 * environment.
 */
int main(int argc, char **argv)
{
	bool bench = argc > 1 && !strcmp(argv[1], "bench");

	if (argc > 2 && !strcmp(argv[1], "again"))
		return run_again(argv[2]);
	if (argc > 1 && !strcmp(argv[1], "-q"))
		return load_by_alias(argv[argc - 1]);
	prepare();
	load_all();
	if (!bench)
		run_tests(load_tests);
	report("the module loads", !load("/homa.ko"), strerror(errno));
	if (!failed && bench)
		run_benches();
	else if (!failed)
		run_mission();
	printf("guest: %u passed, %u failed\n", passed, failed);
	fflush(stdout);
	sync();
	/* An emulator ends there, which not every kernel can switch off. */
	reboot(getenv("end") ? RB_POWER_OFF : RB_AUTOBOOT);
	return 0;
}
