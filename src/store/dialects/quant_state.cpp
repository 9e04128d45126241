#include "store/dialects/quant_state.h"

#include "store/dialects/parts.h"

namespace moeq::store {

namespace {

constexpr int64_t kNumberRoom = 32; // characters that any double takes, and some

constexpr QuantType kTypes[] = {
    {MOEQ_FORMAT_NF4, "nf4", ".quant_state.bitsandbytes__nf4"},
    {MOEQ_FORMAT_FP4, "fp4", ".quant_state.bitsandbytes__fp4"},
};

} // namespace

const QuantType& quant_type(const Geometry& geometry)
{
    return kTypes[geometry.spec.format == kTypes[0].format ? 0 : 1];
}

const QuantType* find_quant_type(const char* suffix)
{
    for (const QuantType& type : kTypes)
        if (std::strcmp(suffix, type.suffix) == 0)
            return &type;
    return nullptr;
}

moeq_status append_quant_state(const Geometry& geometry, double offset, Array<char>* out, Report& report)
{
    const int64_t begin = out->size();
    const int32_t dtype = geometry.spec.logical_dtype;
    int64_t padding = 0;
    text::JsonWriter json(*out);
    json.begin_object();
    json.key("quant_type").string(quant_type(geometry).name);
    json.key("blocksize").integer(geometry.block);
    json.key("dtype").string(torch_dtype_name(dtype == MOEQ_DTYPE_DEFAULT ? MOEQ_DTYPE_BF16 : dtype));
    json.key("shape").begin_array();
    for (int32_t i = 0; i < geometry.ndim; ++i)
        json.integer(geometry.shape[i]);
    json.end_array();
    if (geometry.nested()) {
        json.key("nested_blocksize").integer(kNestedBlock);
        json.key("nested_dtype").string("float32");
        json.key("nested_offset");
        const int64_t before = out->size();
        json.number(offset);
        padding = kNumberRoom - (out->size() - before);
    }
    json.end_object();
    const int64_t end = out->size();
    if (!json.ok() || !out->resize(end + padding))
        return report.out_of_memory(static_cast<uint64_t>(end - begin + kNumberRoom));
    std::memset(out->data() + end, ' ', static_cast<uint64_t>(padding));
    return MOEQ_OK;
}

namespace {

class StateReader {
public:
    StateReader(const Checkpoint& checkpoint, int64_t tensor, const QuantType& type, QuantState* out, Report& report)
        : checkpoint_(checkpoint), tensor_(tensor), type_(type), out_(out), report_(report)
    {
    }

    moeq_status run(Allocator& allocator)
    {
        const FileEntry& entry = checkpoint_.tensor(tensor_).entry;
        if (entry.dtype != MOEQ_DTYPE_UINT8)
            return refuse() << "got the type " << dtype_name(entry.dtype) << "; want uint8";
        Array<char> text(allocator);
        MOEQ_TRY(read_description(checkpoint_, tensor_, &text, report_));
        moeq_error error{};
        Report inner("quant_state", &error);
        text::JsonDocument document(allocator);
        const text::JsonRules rules{.depth = 4, .what = "JSON"};
        const moeq_status status = document.parse(text.data(), text.size() - 1, rules, inner);
        if (status == MOEQ_ERROR_MEMORY)
            return report_.out_of_memory(static_cast<uint64_t>(text.size()));
        if (status != MOEQ_OK)
            return refuse(error.class_id) << error.message;
        const text::JsonValue root = document.root();
        if (!root.is_object())
            return refuse() << "got " << root.kind_name() << "; want an object";
        return read_members(root);
    }

private:
    Failure refuse(const char* class_id = "F15")
    {
        return refuse_tensor(checkpoint_, tensor_, MOEQ_ERROR_FORMAT, class_id, report_);
    }

    moeq_status read_members(const text::JsonValue& root)
    {
        int64_t plain = 0;
        int64_t nested = 0;
        for (const char* name : {"quant_type", "blocksize", "dtype", "shape"})
            plain += root.find(name).missing() ? 0 : 1;
        for (const char* name : {"nested_blocksize", "nested_dtype", "nested_offset"})
            nested += root.find(name).missing() ? 0 : 1;
        if (plain + nested != root.size())
            return refuse() << "got members that bitsandbytes does not know; want none";
        if (!root.find("quant_type").equals(type_.name))
            return (refuse() << "got quant_type ").quoted(root.find("quant_type").text())
                   << "; want " << type_.name << ", as the tensor's name says";
        if (!get_integer_in(root.find("blocksize"), 1, 1 << 20, &out_->block))
            return refuse() << "got no usable blocksize; want an integer";
        out_->dtype = torch_dtype(root.find("dtype"));
        if (out_->dtype == 0)
            return (refuse() << "got dtype ").quoted(root.find("dtype").text())
                   << "; want float32, float16 or bfloat16";
        MOEQ_TRY(read_shape(root.find("shape")));
        out_->nested = nested != 0;
        return out_->nested ? read_nested(root) : MOEQ_OK;
    }

    moeq_status read_shape(const text::JsonValue& extents)
    {
        if (!extents.is_array() || extents.size() < 1 || extents.size() > kMaxDims)
            return refuse() << "got no usable shape; want a list of 1 to " << kMaxDims << " extents";
        if (extents.size() == 1)
            out_->shape[out_->ndim++] = 1; // a vector is one row
        for (text::JsonMember member = extents.first(); !member.done(); member = member.next())
            if (!member.value().get_integer(&out_->shape[out_->ndim++]))
                return refuse() << "got an extent that is no integer; want integers";
        return MOEQ_OK;
    }

    moeq_status read_nested(const text::JsonValue& root)
    {
        int32_t block = 0;
        double offset = 0.0;
        if (!get_integer_in(root.find("nested_blocksize"), 1, 1 << 20, &block) ||
            !root.find("nested_offset").get_number(&offset) || !root.find("nested_dtype").is_string())
            return refuse() << "got a part of what nested statistics need; want nested_blocksize, nested_dtype and "
                               "nested_offset";
        if (block != kNestedBlock || !root.find("nested_dtype").equals("float32"))
            return refuse_tensor(checkpoint_, tensor_, MOEQ_ERROR_UNSUPPORTED, "", report_)
                   << "got nested_blocksize " << block << "; want " << kNestedBlock << " and nested_dtype float32";
        constexpr double kLargest = 3.4028234663852886e38; // of fp32
        if (!(offset >= -kLargest && offset <= kLargest))
            return refuse() << "got a nested_offset that fp32 does not hold; want a finite one";
        out_->offset = static_cast<float>(offset); // as their loader does: one rounding
        return MOEQ_OK;
    }

    const Checkpoint& checkpoint_;
    int64_t tensor_;
    const QuantType& type_;
    QuantState* out_;
    Report& report_;
};

} // namespace

moeq_status read_quant_state(Allocator& allocator, const Checkpoint& checkpoint, int64_t tensor, const QuantType& type,
                             QuantState* out, Report& report)
{
    *out = {};
    return StateReader(checkpoint, tensor, type, out, report).run(allocator);
}

} // namespace moeq::store
