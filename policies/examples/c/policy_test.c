// The policy on made-up snapshots: no host, no Wasm.
#include <stdio.h>

#include "onsen/testing.h"

#define NOW UINT64_C(1800000000000)

static int failed;

#define CHECK(condition)                                              \
  do {                                                                \
    if (!(condition)) {                                               \
      printf("%s:%d: not so: %s\n", __func__, __LINE__, #condition);  \
      failed = 1;                                                     \
    }                                                                 \
  } while (0)

// An m5.large: 3 ENIs of 9 slots.
#define NODE(...) onsen_test_snapshot(NOW, 3, 9, (const char *const[]){__VA_ARGS__, NULL})

static void an_empty_node_gets_what_is_to_be_kept_free_in_one_step(void) {
  onsen_snapshot node = NODE("");
  onsen_policy_types_setting_t five = {ONSEN_TEXT("KEEP_FREE"), ONSEN_TEXT("5")};
  node.settings = (onsen_settings){&five, 1};
  onsen_decision decision = POLICY.decide(&node);
  CHECK(decision.actions.len == 1);
  CHECK(decision.actions.ptr[0].request.tag == ONSEN_POLICY_TYPES_REQUEST_GROW);
  CHECK(decision.actions.ptr[0].request.val.grow.count == 5);
}

static void waiting_pods_are_covered_with_a_new_eni_when_the_first_is_full(void) {
  onsen_snapshot node = NODE("ppppppppp");
  uint64_t waiting[] = {2000, 1000, 0};
  node.demand.waiting.ptr = waiting;
  node.demand.waiting.len = 3;
  onsen_decision decision = POLICY.decide(&node);
  CHECK(decision.actions.len == 1);
  CHECK(decision.actions.ptr[0].request.tag == ONSEN_POLICY_TYPES_REQUEST_ATTACH_ENI);
  CHECK(decision.actions.ptr[0].request.val.attach_eni.blocks == 7);
  CHECK(decision.pressure == 100);
}

static void what_is_idle_goes_back_newest_eni_first(void) {
  onsen_snapshot node = NODE("p......", "..");
  onsen_decision decision = POLICY.decide(&node);
  CHECK(decision.actions.len == 2);
  CHECK(decision.actions.ptr[0].request.tag == ONSEN_POLICY_TYPES_REQUEST_DETACH_ENI);
  CHECK(decision.actions.ptr[1].request.val.release.blocks.len == 2);
  CHECK(decision.actions.ptr[1].request.val.release.blocks.ptr[0] == 6);
}

static void a_refusal_is_waited_out(void) {
  onsen_snapshot node = NODE("");
  onsen_outcome refused = {
      .at = NOW - 5000,
      .operation = ONSEN_POLICY_TYPES_OPERATION_GROW,
      .code = ONSEN_TEXT("InsufficientFreeAddressesInSubnet"),
  };
  node.ec2.outcomes.ptr = &refused;
  node.ec2.outcomes.len = 1;
  onsen_decision decision = POLICY.decide(&node);
  CHECK(decision.actions.len == 0);
  CHECK(decision.wake_after.is_some && decision.wake_after.val == 25000);
}

static void a_node_that_shuts_down_is_left_alone(void) {
  onsen_snapshot node = NODE("");
  node.node.terminating = true;
  CHECK(POLICY.decide(&node).actions.len == 0);
}

static void settings_out_of_range_are_told_and_read_as_the_default(void) {
  onsen_policy_types_setting_t many = {ONSEN_TEXT("KEEP_FREE"), ONSEN_TEXT("many")};
  onsen_settings given = {&many, 1};
  char message[256];
  CHECK(onsen_problem(&POLICY, &given, 0, message, sizeof message) > 0);
  CHECK(onsen_read(&POLICY.settings[0], &given) == 4);
}

int main(void) {
  an_empty_node_gets_what_is_to_be_kept_free_in_one_step();
  waiting_pods_are_covered_with_a_new_eni_when_the_first_is_full();
  what_is_idle_goes_back_newest_eni_first();
  a_refusal_is_waited_out();
  a_node_that_shuts_down_is_left_alone();
  settings_out_of_range_are_told_and_read_as_the_default();
  puts(failed ? "FAILED" : "6 tests passed");
  return failed;
}
