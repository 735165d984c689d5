// SPDX-License-Identifier: GPL-2.0 OR MIT
/* The module comes: asked for by name, or by the first socket; and goes. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/mman.h>
#include <unistd.h>

#include "guest.h"

#define MODULE "/homa.ko"

/* A module that does nothing but have protocol 146. */
#define TAKER "/taker.ko"

#ifndef MODULE_INIT_COMPRESSED_FILE
#define MODULE_INIT_COMPRESSED_FILE 4
#endif

/* A module of the kernel's own may lie there compressed. */
int load(const char *file)
{
	int flags = 0, result, fd = open(file, O_RDONLY | O_CLOEXEC);
	char packed[64];

	if (fd < 0) {
		snprintf(packed, sizeof(packed), "%s.xz", file);
		fd = open(packed, O_RDONLY | O_CLOEXEC);
		flags = MODULE_INIT_COMPRESSED_FILE;
	}
	if (fd < 0)
		return -1;
	result = syscall(SYS_finit_module, fd, "", flags);
	close(fd);
	return result;
}

/* The module goes when the last socket is freed, a moment after its close. */
bool unload(const char *name)
{
	int tries;

	for (tries = 0; tries < 100; tries++) {
		if (!syscall(SYS_delete_module, name, O_NONBLOCK))
			return true;
		usleep(50000);
	}
	return false;
}

/* Whether the module says of itself that it goes by this name. */
static bool has_alias(const char *alias)
{
	int fd = open(MODULE, O_RDONLY | O_CLOEXEC);
	char wanted[128];
	struct stat file;
	bool found;
	void *text;

	if (fd < 0 || fstat(fd, &file))
		return false;
	text = mmap(NULL, file.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	close(fd);
	if (text == MAP_FAILED)
		return false;
	snprintf(wanted, sizeof(wanted), "alias=%s", alias);
	found = memmem(text, file.st_size, wanted, strlen(wanted) + 1);
	munmap(text, file.st_size);
	return found;
}

int load_by_alias(const char *alias)
{
	return has_alias(alias) && !load(MODULE) ? 0 : 1;
}

static bool is_loaded(void)
{
	return !access("/sys/module/homa", F_OK);
}

static void it_is_not_loaded_where_the_protocol_is_taken(void)
{
	CHECK(!load(TAKER));
	CHECK_ERRNO(load(MODULE), EBUSY);
	CHECK(!is_loaded());
	CHECK(unload("taker"));
	CHECK(!load(MODULE));
	CHECK(unload("homa"));
}

static void the_first_socket_loads_it(void)
{
	static const int families[] = { AF_INET, AF_INET6 };
	int fd = open("/proc/sys/kernel/modprobe", O_WRONLY | O_CLOEXEC), i;

	CHECK(fd >= 0 && write(fd, "/init", 5) == 5);
	close(fd);
	for (i = 0; i < 2; i++) {
		CHECK(!is_loaded());
		fd = socket(families[i], SOCK_DGRAM, IPPROTO_HOMA);
		CHECK(fd >= 0 && is_loaded());
		CHECK_ERRNO(syscall(SYS_delete_module, "homa", O_NONBLOCK),
			    EAGAIN);
		close(fd);
		CHECK(unload("homa"));
	}
	/* Homa has no streams, whoever asks. */
	CHECK_ERRNO(socket(AF_INET, SOCK_STREAM, IPPROTO_HOMA),
		    EPROTONOSUPPORT);
	CHECK(!is_loaded());
}

const struct test load_tests[] = {
#define TEST(name) { #name, name }
	TEST(it_is_not_loaded_where_the_protocol_is_taken),
	TEST(the_first_socket_loads_it),
	{},
};
