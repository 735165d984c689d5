// SPDX-License-Identifier: GPL-2.0
/*
 * sysctls under net.homa: what the engine of a namespace is told when the first
 * socket makes it. Afterwards they can be read, and not be set.
 *
 * Names and units are those of the reference, whose ticks are milliseconds. The
 * core knows which values fit.
 */
#include <linux/slab.h>

#include "homa_impl.h"

static int homa_sysctl_set(homa_ctl_table_t *entry, int write, void *buffer,
			   size_t *length, loff_t *at);

#define HOMA_SETTING(name) { \
	.procname = #name, \
	.data = (void *)offsetof(struct homa_core_settings, name), \
	.maxlen = sizeof(u32), \
	.mode = 0644, \
	.proc_handler = homa_sysctl_set, \
}

/* @data is an offset here, and an address in a namespace's copy. */
static const struct ctl_table homa_settings[] = {
	HOMA_SETTING(unsched_bytes),
	HOMA_SETTING(max_incoming),
	HOMA_SETTING(window),
	HOMA_SETTING(max_overcommit),
	HOMA_SETTING(num_priorities),
	HOMA_SETTING(fifo_grant_increment),
	HOMA_SETTING(grant_fifo_fraction),
	HOMA_SETTING(pacer_fifo_fraction),
	HOMA_SETTING(link_mbps),
	HOMA_SETTING(resend_ticks),
	HOMA_SETTING(timeout_ticks),
	HOMA_SETTING(request_ack_ticks),
};

#define HOMA_SETTINGS ARRAY_SIZE(homa_settings)

/* One setting that is to be changed. */
struct homa_change {
	struct homa_core_settings *settings;
	u32 *place;
	u32 value;
};

static int homa_change(void *argument)
{
	struct homa_change *change = argument;
	u32 old = *change->place;

	WRITE_ONCE(*change->place, change->value);
	if (homa_core_settings_fit(change->settings))
		return 0;
	WRITE_ONCE(*change->place, old);
	return -EINVAL;
}

static int homa_sysctl_set(homa_ctl_table_t *entry, int write, void *buffer,
			   size_t *length, loff_t *at)
{
	struct homa_sysctl *sysctl = entry->extra1;
	struct homa_change change = {
		.settings = &sysctl->settings,
		.place = entry->data,
		.value = READ_ONCE(*(u32 *)entry->data),
	};
	struct ctl_table one = {
		.procname = entry->procname,
		.data = &change.value,
		.maxlen = sizeof(change.value),
		.mode = entry->mode,
	};
	int err;

	err = proc_douintvec(&one, write, buffer, length, at);
	if (err || !write)
		return err;
	return homa_engine_unless(sysctl->net, homa_change, &change);
}

int homa_sysctl_init(struct homa_sysctl *sysctl, struct net *net)
{
	size_t i;

	sysctl->net = net;
	homa_core_default_settings(&sysctl->settings);
	/* With an empty entry at its end. */
	sysctl->table = kcalloc(HOMA_SETTINGS + 1, sizeof(*sysctl->table),
				GFP_KERNEL_ACCOUNT);
	if (!sysctl->table)
		return -ENOMEM;
	for (i = 0; i < HOMA_SETTINGS; i++) {
		struct ctl_table *entry = &sysctl->table[i];

		*entry = homa_settings[i];
		entry->data = (char *)&sysctl->settings +
			      (uintptr_t)homa_settings[i].data;
		entry->extra1 = sysctl;
	}
	sysctl->header = homa_register_sysctl(net, sysctl->table,
					      HOMA_SETTINGS);
	if (!sysctl->header) {
		kfree(sysctl->table);
		return -ENOMEM;
	}
	return 0;
}

void homa_sysctl_exit(struct homa_sysctl *sysctl)
{
	unregister_net_sysctl_table(sysctl->header);
	kfree(sysctl->table);
}
