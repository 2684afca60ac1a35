// Compiles bench/seccomp.json to BPF once, for the contenders that take a ready program (floor,
// bubblewrap). Standard input, as bench/run writes it: the default errno, architectures, "-",
// then a line per rule: name errno(0: allow) index op value1 value2 (index -1: no condition).
#include <errno.h>
#include <seccomp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(void) {
  unsigned default_errno, action_errno;
  char word[128];
  if (scanf("%u", &default_errno) != 1) return 2;
  scmp_filter_ctx context = seccomp_init(SCMP_ACT_ERRNO(default_errno));
  if (context == NULL || seccomp_attr_set(context, SCMP_FLTATR_CTL_NNP, 0) != 0) return 1;
  if (seccomp_attr_set(context, SCMP_FLTATR_CTL_OPTIMIZE, 2) != 0) return 1;
  while (scanf("%127s", word) == 1 && strcmp(word, "-") != 0) {
    const int result = seccomp_arch_add(context, seccomp_arch_resolve_name(word));
    if (result != 0 && result != -EEXIST) return 1;
  }
  int index, comparison;
  unsigned long long value, second;
  while (scanf("%127s %u %d %d %llu %llu", word, &action_errno, &index, &comparison, &value,
               &second) == 6) {
    const int number = seccomp_syscall_resolve_name(word);
    if (number == __NR_SCMP_ERROR) continue;
    const uint32_t action = action_errno == 0 ? SCMP_ACT_ALLOW : SCMP_ACT_ERRNO(action_errno);
    const struct scmp_arg_cmp condition = {(unsigned)index, (enum scmp_compare)comparison, value,
                                           second};
    const int result = seccomp_rule_add_array(context, action, number, index < 0 ? 0 : 1,
                                              index < 0 ? NULL : &condition);
    if (result != 0) return 1;
  }
  return seccomp_export_bpf(context, 1) == 0 ? 0 : 1;
}
