// What the tensors of a checkpoint mean: logical weights, dense or quantized in some dialect, and stacks of experts made of
// them. Known from headers, names, config.json and metadata alone.
#pragma once

#include "formats/geometry.h"
#include "store/container/checkpoint.h"
#include "store/model/linear_names.h"
#include "text/name_order.h"

namespace moeq::store {

// One logical weight of the checkpoint: a tensor, or a group of tensors that hold codes and scales.
struct Weight {
    const char* name; // of the dense weight that it is, or stands for; lives in a header, or in Weights
    int64_t name_length;
    int32_t dtype; // dense: of the elements; quantized: the logical one
    int32_t ndim;
    int64_t shape[kMaxDims];
    bool quantized;
    moeq_spec spec;                   // where quantized: resolved
    int64_t tensors[kComponentLimit]; // of each MOEQ_COMPONENT_, [0] of a dense weight; -1: none
    float nested_offset;              // bitsandbytes has it in JSON
    int64_t bytes;                    // in the files; Weights::add sets it
    bool folded;                 // 3-D here, but 2-D in the file: rows of each expert behind those of the one before
    int64_t stack;               // -1: none
    int64_t expert, row, column; // its place in the stack

    // Its extents as [experts, rows, columns]; 2-D and 3-D weights only.
    int64_t experts() const { return ndim == 3 ? shape[0] : 1; }
    int64_t rows() const { return shape[ndim - 2]; }
    int64_t columns() const { return shape[ndim - 1]; }
};

// Nothing known yet: no tensors, no stack.
inline Weight empty_weight()
{
    Weight weight{};
    for (int64_t& tensor : weight.tensors)
        tensor = -1;
    weight.stack = -1;
    return weight;
}

// A weight in the shape that it has in the file.
inline Weight as_in_file(Weight weight)
{
    if (!weight.folded)
        return weight;
    weight.folded = false;
    weight.ndim = 2;
    weight.shape[0] *= weight.shape[1];
    weight.shape[1] = weight.shape[2];
    return weight;
}

// A tensor that is a weight as it is.
Weight dense_weight(const FileEntry& entry, int64_t tensor);

// [experts, rows, columns]: one fused weight, or 2-D weights as pieces.
struct Stack {
    const char* name; // "model.layers.3.mlp.experts.gate_up_proj"
    int64_t name_length;
    int32_t dtype;
    int32_t layout;
    int32_t scale_axis;
    int32_t cut_layout; // how the weight itself lies, whatever its statistics can tell: what tensor parallelism cuts by
    int32_t cut_axis;
    bool quantized;
    bool fused;
    bool either_axis;  // files of the family have both orientations, and its loader turns one of them
    bool guessed_axis; // which of them it is does its shape not tell, nor that of the other weight of its layer
    bool expert;       // false: a lone weight that is quantized and belongs to no experts
    // Of a fused one in files that are not moeq's own; NULL: they have it in several tensors.
    const char* file_name;
    // ... these, where each has all experts: of gate or of the whole, of up. NULL: there are none.
    const char* part_names[2];
    bool parts_folded; // they have two axes
    Cut cut;           // which axis a rank of tensor parallelism has a part of
    moeq_spec spec;    // where quantized: of the whole stack; nested pieces have plain statistics here
    int64_t shape[3];
    int64_t bytes;
    int64_t first_piece, piece_count; // in Weights::pieces, by (expert, row, column)
    int64_t missing_expert;           // -1: all are there
    int64_t odd_piece; // first piece, counted in the stack, that is not quantized as the first is; -1: none
};

class Weights {
public:
    explicit Weights(Allocator& allocator);
    ~Weights();
    Allocator& allocator() const { return allocator_; }

    // Filled in this order: begin; a dialect adds what is quantized; complete, with all that it left and with stacks. patterns,
    // argument: see recognise_weights.
    [[nodiscard]] moeq_status begin(const Checkpoint& checkpoint, Report& report);
    [[nodiscard]] moeq_status complete(const Checkpoint& checkpoint, const char* patterns, int32_t argument,
                                       Report& report);

    // For dialects: a weight that is quantized, with the tensors that hold its components. Refuses a tensor that another
    // weight has (FORMAT, F15). `bytes`, `stack` and the place are set here and later.
    [[nodiscard]] moeq_status add(const Checkpoint& checkpoint, const Weight& weight, Report& report);
    // A tensor that describes the weight added last, and holds no component that is loaded: maps, states, format numbers.
    [[nodiscard]] moeq_status describe(const Checkpoint& checkpoint, int64_t tensor, Report& report);
    bool is_taken(int64_t tensor) const { return weight_of[tensor] >= 0; }

    int32_t dialect = MOEQ_DIALECT_NONE;
    const char* model_type = ""; // of config.json
    Array<Weight> weights;       // in file order of their first tensor
    Array<Stack> stacks;         // in file order of their first tensor
    Array<int64_t> pieces;       // indices of weights
    Array<int64_t> weight_of;    // of each tensor: the index of its weight; -1: of none
    Array<int32_t> component_of; // of each tensor: MOEQ_COMPONENT_; 0: dense; -1: describes a quantized weight

    // The i-th piece of a stack.
    const Weight& piece(const Stack& stack, int64_t i) const { return weights[pieces[stack.first_piece + i]]; }
    Weight& piece(const Stack& stack, int64_t i) { return weights[pieces[stack.first_piece + i]]; }
    int64_t find_stack(const char* name, int64_t length) const; // -1: none

    // What the family's experts are, where they are no weights that could be stacked; NULL: they are.
    const char* odd_experts() const { return family_ == nullptr ? nullptr : family_->odd; }
    // What experts are that transformers' FP8 has no module for; else NULL.
    const char* own_modules() const { return family_ != nullptr ? family_->own_modules : nullptr; }
    // Whether transformers' model has no parameter of the name of a stack, and would leave its experts random.
    bool are_unplaced() const { return family_ != nullptr && family_->unplaced; }
    // Which kind of experts a stack has, where linears of two kinds are numbered through.
    Kind kind_of(const Stack& stack) const { return store::kind_of(family_, stack.name, stack.name_length); }
    // Whether the family's loader takes linears in place of this stack, and what it wants one to be called; part: kGate or kUp of
    // "...gate_up_proj", kWhole of others. False: out of memory.
    Linears linears_of(const Stack& stack) const { return store::linears_of(family_, stack.name, stack.name_length); }
    [[nodiscard]] bool linear_name(const Stack& stack, int64_t expert, Part part, Array<char>* out) const
    {
        return append_linear_name(family_, expert_count_, {stack.name, stack.name_length, expert, part}, out);
    }

private:
    friend class StackBuilder;

    struct Block {
        char* text;
        int64_t bytes;
        int64_t used;
    };
    // A copy of a name, ended by NUL, that lives as long as this; NULL: out of memory.
    const char* keep(const char* name, int64_t length);
    [[nodiscard]] moeq_status add_dense(const Checkpoint& checkpoint, Report& report);
    [[nodiscard]] moeq_status sort_weights(const Checkpoint& checkpoint, Report& report);
    [[nodiscard]] moeq_status index_stacks(Report& report);

    Allocator& allocator_;
    const Family* family_ = nullptr; // of the model type; NULL: an unknown one
    int64_t expert_count_ = -1;      // that config.json says, of the first kind
    Array<Block> names_;
    text::NameOrder stack_order_;
};

} // namespace moeq::store
