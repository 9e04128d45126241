// Lists of modules, as the quantization_config of config.json has them. Files name parameters, loaders compare names of their own
// modules, and put other segments before or between them: what is listed has to hold under both.
#pragma once

#include "store/dialects/dialect.h"

namespace moeq::store {

// The name of the module of a parameter: without ".weight".
int64_t module_name_length(const char* name);

// An array of the modules that stay dense, by name. Experts that are dense all together are named by the module that holds them, as
// most loaders have one module for them: "a.experts". An output layer that is in no file, since it is tied, is named too.
// patterns: where nothing but experts is quantized, a regular expression for all other modules goes before the names.
void write_dense_modules(const WrittenModel& model, text::JsonWriter& out, bool patterns = false);

// Lists of compressed-tensors: names, or "re:" and a regular expression that has to match from the begin.
//
// The modules that no group is for: where nothing but experts is quantized, all that is in none of them; else the dense modules,
// one pattern for those that differ in numbers only. Patterns leave open what stands before the numbered part of a name.
[[nodiscard]] moeq_status write_ignored_modules(const WrittenModel& model, text::JsonWriter& out, Report& report);
// The modules of the weights whose group is `group`; groups: one for each weight of the model. By name, and those outside of
// experts by patterns too. Not experts: some loaders take a pattern with "experts" in it for a statement about all of them.
[[nodiscard]] moeq_status write_targeted_modules(const WrittenModel& model, const int32_t* groups, int32_t group,
                                                 text::JsonWriter& out, Report& report);

} // namespace moeq::store
