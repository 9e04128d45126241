// A serving engine's loader: the gate and up halves of an expert arrive whole and in any order, are narrowed for tensor
// parallelism, and become one FP8 weight [experts, 2 * I / tp, H] with one scale per expert, in storage of the engine's.
// observe() sees every half first and collects amax; load() then encodes each half on arrival, and nothing is ever staged.
// Without observe() the same loader works too: the builder then holds an expert's first half back until the second is there.
#include <dlpack/dlpack.h>
#include <moeq.h>

#include <cstdint>
#include <cstdio>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

namespace {

// [quote: check]
class Error : public std::runtime_error {
public:
    Error(moeq_status code, const moeq_error& details) : std::runtime_error(details.message), status(code) {}
    moeq_status status;
};

// check(moeq_f(..., check)): the error lives on the stack of the caller, so nothing depends on the thread.
struct Check {
    moeq_error error;
    operator moeq_error*() { return &error; }
    void operator()(moeq_status status) const
    {
        if (status != MOEQ_OK)
            throw Error(status, error);
    }
};
// [end]

// Zero is the default of every field, so this is all that a struct needs.
template <class T>
T sized()
{
    T value{};
    value.struct_size = sizeof value;
    return value;
}

// [quote: owners]
struct Release {
    void operator()(moeq_context* context) const { moeq_context_destroy(context); }
    void operator()(moeq_qtensor* qtensor) const { moeq_qtensor_release(qtensor); }
    void operator()(moeq_builder* builder) const { moeq_builder_destroy(builder); }
};
using Context = std::unique_ptr<moeq_context, Release>;
using QTensor = std::unique_ptr<moeq_qtensor, Release>;
using Builder = std::unique_ptr<moeq_builder, Release>;
// [end]

// What an engine hands over: memory that lives until the deleter is called.
class EngineTensor {
public:
    static DLManagedTensorVersioned* create(const moeq_component_info& info)
    {
        auto owner = std::make_unique<EngineTensor>();
        owner->memory_.resize(static_cast<std::size_t>(info.bytes));
        owner->shape_.assign(info.shape, info.shape + info.ndim);
        owner->tensor_.version.major = 1;
        owner->tensor_.manager_ctx = owner.get();
        owner->tensor_.deleter = [](DLManagedTensorVersioned* tensor) {
            delete static_cast<EngineTensor*>(tensor->manager_ctx);
        };
        DLTensor& plain = owner->tensor_.dl_tensor;
        plain.data = owner->memory_.data();
        plain.device.device_type = kDLCPU;
        plain.dtype.code = static_cast<std::uint8_t>(info.dtype);
        plain.dtype.bits = static_cast<std::uint8_t>(info.dtype >> 8);
        plain.dtype.lanes = static_cast<std::uint16_t>(info.dtype >> 16);
        plain.ndim = info.ndim;
        plain.shape = owner->shape_.data();
        return &owner.release()->tensor_;
    }

private:
    std::vector<char> memory_;
    std::vector<std::int64_t> shape_;
    DLManagedTensorVersioned tensor_{};
};

// [quote: rows]
// Rows [begin, begin + rows) of a row-major [rows, columns] in fp32: how an engine narrows. No copy.
struct Rows {
    Rows(float* data, std::int64_t columns, std::int64_t begin, std::int64_t rows) : shape{rows, columns}
    {
        view.version.major = 1;
        view.dl_tensor.data = data;
        view.dl_tensor.byte_offset = static_cast<std::uint64_t>(begin * columns) * sizeof(float);
        view.dl_tensor.device.device_type = kDLCPU;
        view.dl_tensor.dtype = {kDLFloat, 32, 1};
        view.dl_tensor.ndim = 2;
        view.dl_tensor.shape = shape;
    }
    Rows(const Rows&) = delete; // the view points into the object
    Rows& operator=(const Rows&) = delete;

    std::int64_t shape[2];
    DLManagedTensorVersioned view{};
};
// [end]

struct Shard { // one half of an expert, as a checkpoint yields it
    std::int64_t expert;
    bool is_up;
    std::vector<float> values; // [intermediate, hidden]
};

class GateUpLoader {
public:
    GateUpLoader(const moeq_context* context, std::int64_t experts, std::int64_t intermediate, std::int64_t hidden,
                 int tp_rank, int tp_size)
        : context_(context), rows_(intermediate / tp_size),
          first_row_(tp_rank * rows_), shape_{experts, 2 * rows_, hidden},
          amax_(static_cast<std::size_t>(experts), 0.0f)
    {
    }

    // [quote: observe]
    // Both halves of an expert land in its one number: max of itself and the half's amax.
    void observe(Shard& shard)
    {
        Rows half(shard.values.data(), shape_[2], first_row_, rows_);
        DLManagedTensorVersioned slot{};
        slot.version.major = 1;
        slot.dl_tensor.data = &amax_.at(static_cast<std::size_t>(shard.expert));
        slot.dl_tensor.device.device_type = kDLCPU;
        slot.dl_tensor.dtype = {kDLFloat, 32, 1}; // ndim 0: one number
        auto options = sized<moeq_reduce_options>();
        options.flags = MOEQ_REDUCE_ACCUMULATE;
        Check check;
        check(moeq_reduce(context_, &half.view, &options, nullptr, &slot, check));
        observed_ = true;
    }
    // [end]

    // [quote: start]
    void start()
    {
        auto spec = sized<moeq_spec>();
        spec.format = MOEQ_FORMAT_FP8_E4M3;
        spec.granularity = MOEQ_GRANULARITY_EXPERT;
        spec.layout = MOEQ_LAYOUT_GATE_UP;
        moeq_component storage[2] = {{MOEQ_COMPONENT_CODES, 0, nullptr}, {MOEQ_COMPONENT_SCALE, 0, nullptr}};
        for (moeq_component& component : storage)
            component.tensor = create_component(spec, component.component);
        auto options = sized<moeq_quantize_options>();
        options.storage = storage;
        options.storage_count = 2;
        DLManagedTensorVersioned amax{};
        amax.version.major = 1;
        amax.dl_tensor.data = amax_.data();
        amax.dl_tensor.device.device_type = kDLCPU;
        amax.dl_tensor.dtype = {kDLFloat, 32, 1};
        amax.dl_tensor.ndim = 1;
        amax.dl_tensor.shape = shape_;
        options.amax = observed_ ? &amax : nullptr; // borrowed: the builder keeps a copy of its own
        moeq_builder* builder = nullptr;
        Check check;
        const moeq_status status = moeq_builder_create(context_, &spec, 3, shape_, &options, nullptr, &builder, check);
        if (status != MOEQ_OK)
            for (moeq_component& component : storage) // adopted on success only
                component.tensor->deleter(component.tensor);
        check(status);
        builder_.reset(builder);
    }
    // [end]

    // True when the weight is whole. A shard that comes twice is an error and never a silent early end.
    bool load(Shard& shard)
    {
        Rows half(shard.values.data(), shape_[2], first_row_, rows_);
        Check check;
        check(moeq_builder_write(builder_.get(), shard.expert, shard.is_up ? rows_ : 0, 0, &half.view, nullptr, check));
        auto state = sized<moeq_builder_state>();
        check(moeq_builder_get_state(builder_.get(), &state, check));
        most_staged_ = state.staged_bytes > most_staged_ ? state.staged_bytes : most_staged_;
        return state.missing_elements == 0;
    }

    QTensor finish()
    {
        moeq_qtensor* out = nullptr;
        Check check;
        check(moeq_builder_finish(builder_.get(), nullptr, &out, check));
        (void)builder_.release(); // it became the handle
        return QTensor(out);
    }

    std::int64_t most_staged() const { return most_staged_; }

private:
    DLManagedTensorVersioned* create_component(const moeq_spec& spec, std::int32_t component) const
    {
        auto info = sized<moeq_component_info>();
        Check check;
        check(moeq_spec_get_component(&spec, 3, shape_, component, &info, check));
        return EngineTensor::create(info);
    }

    const moeq_context* context_;
    std::int64_t rows_;
    std::int64_t first_row_;
    std::int64_t shape_[3];
    std::vector<float> amax_;
    bool observed_ = false;
    std::int64_t most_staged_ = 0;
    Builder builder_;
};

constexpr std::int64_t kExperts = 4, kIntermediate = 64, kHidden = 96;
constexpr int kRank = 1, kRanks = 2;

std::vector<Shard> make_shards()
{
    std::vector<Shard> shards;
    std::uint32_t state = 1;
    for (std::int64_t i = 0; i < 2 * kExperts; ++i) {
        Shard shard{i * 3 % kExperts, i >= kExperts,
                    std::vector<float>(kIntermediate * kHidden)}; // gates first, not in order
        for (float& value : shard.values) {
            state = state * 1664525u + 1013904223u;
            value = static_cast<float>(state >> 8) / 8388608.0f - 1.0f;
        }
        shards.push_back(std::move(shard));
    }
    return shards;
}

// Loads all shards, with or without a first pass for amax. Returns the scales, to be compared.
std::vector<float> load_weight(const moeq_context* context, std::vector<Shard>& shards, bool observe)
{
    GateUpLoader loader(context, kExperts, kIntermediate, kHidden, kRank, kRanks);
    if (observe)
        for (Shard& shard : shards)
            loader.observe(shard);
    loader.start();
    bool whole = false;
    for (Shard& shard : shards)
        whole = loader.load(shard);
    if (!whole)
        throw std::runtime_error("shards are missing");
    const QTensor weight = loader.finish();
    std::printf("%s: at most %lld bytes staged\n", observe ? "amax first" : "one pass",
                static_cast<long long>(loader.most_staged()));
    DLManagedTensorVersioned* scale = nullptr;
    Check check;
    check(moeq_qtensor_export(weight.get(), MOEQ_COMPONENT_SCALE, &scale, check));
    const auto* values = static_cast<const float*>(scale->dl_tensor.data);
    std::vector<float> scales(values, values + scale->dl_tensor.shape[0]);
    scale->deleter(scale);
    return scales;
}

} // namespace

int main()
{
    try {
        moeq_context* created = nullptr;
        Check check;
        check(moeq_context_create(nullptr, &created, check));
        const Context context(created);
        std::vector<Shard> shards = make_shards();
        const std::vector<float> two_passes = load_weight(context.get(), shards, true);
        const std::vector<float> one_pass = load_weight(context.get(), shards, false);
        std::printf("the scales are %s\n", two_passes == one_pass ? "the same" : "different");
        shards.push_back(shards.front());
        try {
            load_weight(context.get(), shards, true);
        } catch (const Error& error) {
            std::printf("%s\n", moeq_status_name(error.status));
        }
        return two_passes == one_pass ? 0 : 1;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 1;
    }
}
