// Calls about specs.
#include "support/calls_base.h"

namespace moeq_test {

namespace {

struct SpecResolve : Base {
    using Base::Base;
    moeq_status run(moeq_error* err) override
    {
        out_ = sized<moeq_spec>();
        return moeq_spec_resolve(&spec_, ndim(), shape_.data(), &out_, err);
    }
    Bytes result() override
    {
        Bytes bytes;
        append_value(bytes, out_);
        return bytes;
    }

    moeq_spec out_{};
};

struct SpecGetComponent : Base {
    using Base::Base;
    moeq_status run(moeq_error* err) override
    {
        out_ = sized<moeq_component_info>();
        return moeq_spec_get_component(&spec_, ndim(), shape_.data(), MOEQ_COMPONENT_CODES, &out_, err);
    }
    Bytes result() override
    {
        Bytes bytes;
        append_value(bytes, out_);
        return bytes;
    }

    moeq_component_info out_{};
};

struct SpecGetBytes : Base {
    using Base::Base;
    moeq_status run(moeq_error* err) override
    {
        return moeq_spec_get_bytes(&spec_, ndim(), shape_.data(), &bytes_, &staging_, err);
    }
    Bytes result() override
    {
        Bytes bytes;
        append_value(bytes, bytes_);
        append_value(bytes, staging_);
        return bytes;
    }

    int64_t bytes_ = -1;
    int64_t staging_ = -1;
};

struct SpecParse : Base {
    SpecParse(World& world, const char* text, const Size& size) : Base(world, text, size), text_(text) {}
    moeq_status run(moeq_error* err) override
    {
        out_ = sized<moeq_spec>();
        return moeq_spec_parse(text_.c_str(), &out_, err);
    }
    Bytes result() override
    {
        Bytes bytes;
        append_value(bytes, out_);
        return bytes;
    }

    std::string text_;
    moeq_spec out_{};
};

struct SpecPrint : Base {
    using Base::Base;
    moeq_status run(moeq_error* err) override { return moeq_spec_print(&spec_, out_, err); }
    Bytes result() override { return Bytes(out_, out_ + std::strlen(out_)); }

    char out_[MOEQ_SPEC_TEXT] = {};
};

} // namespace

void add_spec_calls(std::vector<CallKind>& calls)
{
    add<SpecResolve>(calls, "spec_resolve", "moeq_spec_resolve", false, kAll);
    add<SpecGetComponent>(calls, "spec_get_component", "moeq_spec_get_component", false, kAll);
    add<SpecGetBytes>(calls, "spec_get_bytes", "moeq_spec_get_bytes", false, kAll);
    add<SpecParse>(calls, "spec_parse", "moeq_spec_parse", false, kAll);
    add<SpecPrint>(calls, "spec_print", "moeq_spec_print", false, kAll);
}

} // namespace moeq_test
