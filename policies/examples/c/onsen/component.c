// What the component exports: hands the contract's three questions to POLICY.
#include <stdlib.h>

#include "onsen.h"

// The generated code wants to be linked with an object that holds the contract's types. Here
// `onsen policy build` puts the types in afterwards.
void __component_type_object_force_link_ipam_policy(void) {}

void exports_onsen_policy_policy_describe(exports_onsen_policy_policy_metadata_t *told) {
  size_t count = POLICY.setting_count;
  told->name = onsen_print("%s", POLICY.name);
  told->version = onsen_print("%s", POLICY.version);
  told->doc = onsen_print("%s", POLICY.doc);
  told->settings.ptr = calloc(count ? count : 1, sizeof *told->settings.ptr);
  told->settings.len = told->settings.ptr ? count : 0;
  for (size_t at = 0; at < told->settings.len; at++) {
    const onsen_integer *setting = &POLICY.settings[at];
    onsen_policy_types_setting_spec_t *spec = &told->settings.ptr[at];
    spec->key = onsen_print("%s", setting->key);
    spec->kind = ONSEN_POLICY_TYPES_SETTING_KIND_INTEGER;
    spec->default_ = onsen_print("%u", setting->fallback);
    spec->min = (ipam_policy_option_s64_t){true, setting->min};
    spec->max = (ipam_policy_option_s64_t){true, setting->max};
    spec->doc = onsen_print("%s", setting->doc);
  }
}

bool exports_onsen_policy_policy_configure(exports_onsen_policy_policy_list_setting_t *given,
                                           exports_onsen_policy_policy_list_problem_t *found) {
  onsen_settings settings = {given->ptr, given->len};
  found->ptr = calloc(given->len ? given->len : 1, sizeof *found->ptr);
  found->len = 0;
  for (size_t at = 0; found->ptr && at < given->len; at++) {
    char message[256];
    if (onsen_problem(&POLICY, &settings, at, message, sizeof message) == 0) continue;
    exports_onsen_policy_policy_problem_t *problem = &found->ptr[found->len++];
    onsen_text key = given->ptr[at].key;
    problem->key = onsen_print("%.*s", (int)key.len, (const char *)key.ptr);
    problem->message = onsen_print("%s", message);
  }
  exports_onsen_policy_policy_list_setting_free(given);
  return found->len == 0;
}

bool exports_onsen_policy_policy_decide(exports_onsen_policy_policy_snapshot_t *snapshot,
                                        exports_onsen_policy_policy_decision_t *decision,
                                        ipam_policy_string_t *error) {
  (void)error;
  *decision = POLICY.decide(snapshot);
  exports_onsen_policy_policy_snapshot_free(snapshot);
  return true;
}
