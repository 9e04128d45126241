// The forms in which files have experts.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "random/dice.h"

namespace moeq_random {

enum class Form {
    kLinears,
    kFused,
    kGranite,
    kParts,
    kLayers, // fc1, fc2
    kMlx,
    kFolded,
    kNumbered, // "expert_7"
    kGrok,
    kInkling,
    kNemo,
    kJetmoe,
    kPatterned,
    kAny,
};

// A model type, and the form that its files have.
struct Kind {
    const char* type;
    Form form;
};
Kind make_kind(Dice& dice);

struct ExpertSizes {
    int64_t experts, hidden, width;
};

using AddTensor = std::function<void(const std::string& name, const std::vector<int64_t>& shape)>;

// layer: "model.layers.0."; mlp: "mlp.". patterns: what a form needs that no type knows.
void add_experts(Dice& dice, Form form, const std::string& layer, const std::string& mlp, const ExpertSizes& sizes,
                 const AddTensor& add, std::string* patterns);

} // namespace moeq_random
