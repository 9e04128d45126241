// What a checkpoint holds, through the reader: bytes of tensors, decoded experts in one order whatever the layout.
#pragma once

#include <map>

#include "random/calls.h"
#include "random/dice.h"

namespace moeq_random {

// A stack as [experts][outputs, gate before up][inputs]; empty where it cannot be had.
struct Decoded {
    moeq_stack_info info{};
    int64_t experts = 0, outputs = 0, inputs = 0;
    std::vector<float> values;
    float largest = 0;      // of the whole, for a half of it too: one scale may be for both
    std::vector<float> raw; // [experts][rows][columns]
};

class Look {
public:
    Look(const moeq_reader* reader, Problem& problem);

    const std::vector<moeq_tensor_info>& tensors() const { return tensors_; }
    const std::vector<moeq_stack_info>& stacks() const { return stacks_; }
    std::string bytes(int64_t tensor) const;
    Decoded decode(int64_t stack) const;
    // A quantized stack's experts, or a rank's part, as [E, R, C]; a refusal gives nothing.
    std::vector<float> load(int64_t stack, const moeq_load_options& options, std::vector<int64_t>* shape) const;

private:
    std::vector<float> dense(int64_t stack) const;

    const moeq_reader* reader_;
    Problem& problem_;
    std::vector<moeq_tensor_info> tensors_;
    std::vector<moeq_stack_info> stacks_;
};

} // namespace moeq_random
