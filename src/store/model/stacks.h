// Makes stacks of the weights of a checkpoint: which of them are experts, and of which weight they are pieces.
#pragma once

#include "store/model/model_config.h"
#include "store/model/weights.h"

namespace moeq::store {

class StackBuilder {
public:
    // config: config.json.
    StackBuilder(Allocator& allocator, const text::JsonValue& config, const Rules& rules, Weights& out, Report& report);

    // Fills stacks and pieces of `out`, and the place of each weight. Linear in the weights, but for a sort of them.
    [[nodiscard]] moeq_status run();

private:
    // What one stack, or the two halves of one, will be made of.
    struct Group {
        const char* name;
        int64_t name_length;
        const Rule* rule; // of its first member
        int64_t weight;   // its first member
    };
    struct Member {
        int64_t group;
        int64_t weight;
        int64_t expert;
        Part part;
    };
    struct Span {
        const Member* begin;
        const Member* end;
    };

    [[nodiscard]] moeq_status collect();
    [[nodiscard]] moeq_status add_member(const Rule& rule, const PatternMatch& match, Member member);
    [[nodiscard]] moeq_status unfold(const Rule& rule, Weight* weight, bool* fits);
    [[nodiscard]] moeq_status find_group(const Rule& rule, const PatternMatch& match, int64_t weight, int64_t* out);
    int64_t lookup(const char* name, int64_t length) const;
    const Weight* other_of(const Group& group) const;
    [[nodiscard]] moeq_status grow_table();
    int64_t slot_of(const char* name, int64_t length) const;
    [[nodiscard]] moeq_status build_group(const Group& group, const Span& members);
    [[nodiscard]] moeq_status check_members(const Group& group, const Span& members);
    [[nodiscard]] moeq_status add_stack(const Group& group, const Span& members, int32_t parts, bool joined);
    [[nodiscard]] moeq_status add_half(const Group& group, const Span& members, Part part);
    [[nodiscard]] moeq_status add_lone(int64_t weight);
    [[nodiscard]] moeq_status sort_stacks();
    bool can_join(const Group& group, const Span& members) const;
    int32_t axis_of(const Group& group, const Weight& first, bool* guessed) const;
    [[nodiscard]] moeq_status set_file_name(const Rule& rule, Stack* stack);
    [[nodiscard]] moeq_status set_part_names(Stack* stack);
    void count_experts(const Group& group, const Span& members, int32_t parts, Stack* stack) const;
    void set_spec(const Group* group, Stack* stack, bool joined) const;
    moeq_status out_of_memory(int64_t count, uint64_t size) const;

    Allocator& allocator_;
    const text::JsonValue config_;
    const Rules& rules_;
    Weights& out_;
    Report& report_;
    Array<Group> groups_;
    // Hash table over names of groups: their indices, -1 for free. Its order depends on where it lies, so that no list of names
    // can be made that all meet in one slot.
    Array<int64_t> table_;
    int32_t table_bits_ = 5;
    Array<Member> members_;
    int64_t hidden_size_;
    ExpertCounts counts_;
};

} // namespace moeq::store
