// A small JSON file that a conversion wrote for itself: its plan, its report, the record of a unit.
#pragma once

#include "store/convert/plan.h"

namespace moeq::store {

class OwnJson {
public:
    explicit OwnJson(Allocator& allocator) : allocator_(allocator), text_(allocator), document_(allocator) {}

    [[nodiscard]] moeq_status read(int folder, const char* name, Report& report);
    // Whether it is there and whole: one that is torn is none.
    bool found() const { return found_; }
    text::JsonValue root() const { return found_ ? document_.root() : text::JsonValue(); }
    bool is_of(const Plan& plan) const { return root().find("plan").equals(plan.hash_text); }

private:
    Allocator& allocator_;
    Array<char> text_;
    text::JsonDocument document_;
    bool found_ = false;
};

} // namespace moeq::store
