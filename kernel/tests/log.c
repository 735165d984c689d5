// SPDX-License-Identifier: GPL-2.0 OR MIT
/* What the kernel found out while the tests ran: complaints, and leaks. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#include "guest.h"

#define LEAKS "/sys/kernel/debug/kmemleak"

/* Of objects younger than that the kernel does not say that they leaked. */
#define LEAK_SECONDS 6

/* From where on the log is the tests'. */
static int log_fd = -1;

void log_begin(void)
{
	log_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	lseek(log_fd, 0, SEEK_END);
	mount("debugfs", "/sys/kernel/debug", "debugfs", 0, NULL);
	if (leaks_are_watched())
		write_file(LEAKS, "clear");
}

/* Words that no line has where all is well. */
static bool is_complaint(const char *line)
{
	static const char *const bad[] = {
		"BUG", "WARNING", "Oops", "memory leaks", "Call Trace",
		"unregister_netdevice", "still has objects",
		"Objects remaining", "Redzone", "Poison", "KFENCE",
		"still in use", "refcount_t", "UBSAN", "users at", "INFO: ", "stall",
	};
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (strstr(line, bad[i]))
			return true;
	return false;
}

bool log_is_clean(unsigned int panics_asked_for)
{
	unsigned int panics = 0;
	bool clean = true;
	char line[2048];
	ssize_t length;

	while ((length = read(log_fd, line, sizeof(line) - 1)) > 0 ||
	       (length < 0 && errno == EPIPE)) {
		if (length < 0)
			continue;
		line[length] = 0;
		panics += strstr(line, "homa: the engine panicked") != NULL;
		if (is_complaint(line)) {
			printf("log: %s", line);
			clean = false;
		}
	}
	if (panics != panics_asked_for)
		printf("log: %u panics of the engine instead of %u\n", panics,
		       panics_asked_for);
	return clean && panics == panics_asked_for;
}

bool leaks_are_watched(void)
{
	return !access(LEAKS, W_OK);
}

/* An object counts as lost once two looks found nothing that refers to it. */
bool nothing_leaked(void)
{
	char text[2048];
	bool clean = true;
	ssize_t length;
	int look, fd;

	sleep(LEAK_SECONDS);
	for (look = 0; look < 2; look++)
		write_file(LEAKS, "scan");
	fd = open(LEAKS, O_RDONLY | O_CLOEXEC);
	while ((length = read(fd, text, sizeof(text))) > 0) {
		printf("%.*s", (int)length, text);
		clean = false;
	}
	close(fd);
	write_file(LEAKS, "clear");
	return clean && !length;
}
