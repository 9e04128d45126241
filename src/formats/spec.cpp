// Which combinations of a spec's fields make sense, and what their defaults are.
#include "formats/geometry.h"

namespace moeq {

namespace {

class Resolver {
public:
    Resolver(int32_t argument, const char* name, Report& report) : argument_(argument), name_(name), report_(report) {}

    moeq_status run(const moeq_spec& given, moeq_spec* out)
    {
        spec_ = given;
        spec_.struct_size = sizeof spec_;
        format_ = find_format(spec_.format);
        if (format_ == nullptr)
            return refuse(MOEQ_ERROR_ARGUMENT, "format", spec_.format, "a MOEQ_FORMAT_ constant");
        moeq_status status = check_constants();
        if (status == MOEQ_OK)
            status = format_->units == Units::kRuns ? check_runs() : check_tiles();
        if (status == MOEQ_OK)
            status = check_profile();
        if (status == MOEQ_OK)
            *out = spec_;
        return status;
    }

private:
    moeq_status refuse(moeq_status status, const char* field, int64_t got, const char* want)
    {
        Failure failure = report_.fail(status, argument_, name_);
        failure << "got " << field << " " << got;
        if (format_ != nullptr)
            failure << " with format " << format_->name;
        return failure << "; want " << want;
    }

    static bool within(int32_t value, int32_t last) { return value >= 0 && value <= last; }

    moeq_status check_constants()
    {
        if (!within(spec_.granularity, MOEQ_GRANULARITY_BLOCK))
            return refuse(MOEQ_ERROR_ARGUMENT, "granularity", spec_.granularity, "a MOEQ_GRANULARITY_ constant");
        if (!within(spec_.blocking, MOEQ_BLOCKING_FLAT))
            return refuse(MOEQ_ERROR_ARGUMENT, "blocking", spec_.blocking, "a MOEQ_BLOCKING_ constant");
        if (spec_.scale_axis < -2 || spec_.scale_axis > 0)
            return refuse(MOEQ_ERROR_ARGUMENT, "scale_axis", spec_.scale_axis,
                          "-1 (or 0) for the last axis, -2 for the one before");
        if (!within(spec_.scale_kind, MOEQ_SCALE_FACTOR))
            return refuse(MOEQ_ERROR_ARGUMENT, "scale_kind", spec_.scale_kind, "a MOEQ_SCALE_ constant");
        if (!within(spec_.nested, 1))
            return refuse(MOEQ_ERROR_ARGUMENT, "nested", spec_.nested, "0 or 1");
        if (!within(spec_.layout, MOEQ_LAYOUT_GATE_UP_INTERLEAVED))
            return refuse(MOEQ_ERROR_ARGUMENT, "layout", spec_.layout, "a MOEQ_LAYOUT_ constant");
        if (!within(spec_.nonfinite, MOEQ_NONFINITE_SATURATE))
            return refuse(MOEQ_ERROR_ARGUMENT, "nonfinite", spec_.nonfinite, "a MOEQ_NONFINITE_ constant");
        if (!within(spec_.profile, MOEQ_PROFILE_BNB_CPU_FP16))
            return refuse(MOEQ_ERROR_ARGUMENT, "profile", spec_.profile, "a MOEQ_PROFILE_ constant");
        if (spec_.logical_dtype != 0 && float_type(spec_.logical_dtype) < 0)
            return refuse(MOEQ_ERROR_DTYPE, "logical_dtype", spec_.logical_dtype,
                          "0, or the dtype of fp32, fp16 or bf16");
        if (spec_.nested != 0 && !format_->nests)
            return refuse(MOEQ_ERROR_UNSUPPORTED, "nested", spec_.nested, "0: only NF4 and FP4 nest their statistics");
        if (spec_.scale_axis == 0)
            spec_.scale_axis = -1;
        if (spec_.scale_kind == MOEQ_SCALE_DEFAULT)
            spec_.scale_kind = format_->default_scale_kind;
        if (spec_.granularity == MOEQ_GRANULARITY_DEFAULT)
            spec_.granularity = format_->default_granularity;
        return MOEQ_OK;
    }

    moeq_status check_runs()
    {
        if (spec_.granularity != MOEQ_GRANULARITY_BLOCK)
            return refuse(MOEQ_ERROR_UNSUPPORTED, "granularity", spec_.granularity, "MOEQ_GRANULARITY_BLOCK");
        if (spec_.scale_kind != format_->default_scale_kind)
            return refuse(MOEQ_ERROR_UNSUPPORTED, "scale_kind", spec_.scale_kind,
                          spec_.scale_kind == MOEQ_SCALE_FACTOR ? "MOEQ_SCALE_ABSMAX" : "MOEQ_SCALE_FACTOR");
        if (format_->blocks.rows_only && spec_.blocking == MOEQ_BLOCKING_FLAT)
            return refuse(MOEQ_ERROR_UNSUPPORTED, "blocking", spec_.blocking, "MOEQ_BLOCKING_ROW (or 0)");
        if (format_->blocks.rows_only)
            spec_.blocking = MOEQ_BLOCKING_ROW;
        if (spec_.block_rows == 0)
            spec_.block_rows = format_->default_block_rows;
        if (spec_.block_columns == 0)
            spec_.block_columns = format_->default_block_columns;
        if (spec_.block_rows != 1)
            return refuse(MOEQ_ERROR_UNSUPPORTED, "block_rows", spec_.block_rows,
                          "1 (or 0): blocks are one-dimensional");
        const int32_t block = spec_.block_columns;
        if (block < format_->blocks.least || block > format_->blocks.most || (block & (block - 1)) != 0)
            return refuse(
                MOEQ_ERROR_ARGUMENT, "block_columns", block,
                format_->blocks.most == format_->blocks.least ? "32 (or 0)" : "a power of two from 32 to 4096");
        if (spec_.blocking == MOEQ_BLOCKING_ROW && spec_.scale_axis == -2)
            return refuse(MOEQ_ERROR_UNSUPPORTED, "scale_axis", -2,
                          "-1 with blocking ROW: blocks run in storage order");
        return MOEQ_OK;
    }

    moeq_status check_tiles()
    {
        if (spec_.blocking != 0)
            return refuse(MOEQ_ERROR_UNSUPPORTED, "blocking", spec_.blocking,
                          "0: only NF4, FP4 and MXFP8 have 1-D blocks");
        if (spec_.granularity != MOEQ_GRANULARITY_BLOCK) {
            if (spec_.block_rows != 0 || spec_.block_columns != 0)
                return refuse(MOEQ_ERROR_ARGUMENT, "block size",
                              spec_.block_rows != 0 ? spec_.block_rows : spec_.block_columns,
                              "0, or granularity BLOCK");
            return MOEQ_OK;
        }
        if (spec_.block_rows == 0)
            spec_.block_rows = format_->default_block_rows;
        if (spec_.block_columns == 0)
            spec_.block_columns = format_->default_block_columns;
        if (spec_.block_rows < 1)
            return refuse(MOEQ_ERROR_ARGUMENT, "block_rows", spec_.block_rows, "1 or more");
        if (spec_.block_columns < 1)
            return refuse(MOEQ_ERROR_ARGUMENT, "block_columns", spec_.block_columns, "1 or more");
        return MOEQ_OK;
    }

    moeq_status check_profile()
    {
        if (spec_.profile == MOEQ_PROFILE_MOEQ)
            return MOEQ_OK;
        if (!format_->has_bnb_profile)
            return refuse(MOEQ_ERROR_UNSUPPORTED, "profile", spec_.profile,
                          "MOEQ_PROFILE_MOEQ: bitsandbytes has no such format");
        if (spec_.profile == MOEQ_PROFILE_BNB_CPU_FP16 && format_->code_dtype != MOEQ_DTYPE_INT8)
            return refuse(MOEQ_ERROR_UNSUPPORTED, "profile", spec_.profile,
                          "MOEQ_PROFILE_BNB_CPU: only int8 goes through fp16");
        if (spec_.scale_kind != MOEQ_SCALE_ABSMAX)
            return refuse(MOEQ_ERROR_ARGUMENT, "scale_kind", spec_.scale_kind,
                          "MOEQ_SCALE_ABSMAX with a bitsandbytes profile");
        return MOEQ_OK;
    }

    int32_t argument_;
    const char* name_;
    Report& report_;
    moeq_spec spec_{};
    const Format* format_ = nullptr;
};

} // namespace

moeq_status resolve_spec(const moeq_spec& spec, int32_t argument, const char* name, moeq_spec* out, Report& report)
{
    return Resolver(argument, name, report).run(spec, out);
}

} // namespace moeq
