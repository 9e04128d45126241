// The driver of the benchmark: measures moeq through moeq.h, and the movers of the same bytes in the same process.
// It reads one request a line and answers each with one line of JSON; bench/run.py asks.
//
//     machine
//     case OP SPEC DTYPE EXPERTS ROWS COLUMNS THREADS TIER WARMTH LAYOUT
//     call SPEC
//
// `call` is what a call costs by itself: one row of 64 columns to bf16.
// OP: amax, sum, quantize, dequantize, dequantize_experts, dequantize_rows. SPEC: a spec text; for amax and sum what is reduced to
// one number each: "-" (everything), experts, rows, columns, blocks (of 128 x 128). DTYPE: fp32,
// fp16, bf16, of what is read to quantize or to reduce, else of what is written. TIER: best, scalar, avx2, avx512.
// WARMTH: warm, or cold for a destination that nobody has touched. LAYOUT, of the weight's elements: plain, padded,
// transposed. All times are nanoseconds, one for each run.
#include <sched.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <functional>
#include <iostream>
#include <memory>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "memory.h"
#include "moeq.h"
#include "mover.h"
#include "timing.h"

namespace moeq_bench {

namespace {

constexpr int64_t kPatternElements = (int64_t{1} << 20) + 1; // odd, so that rows differ
constexpr int64_t kPadding = 64;                             // elements between the rows of a padded weight
constexpr int kPingPongs = 20000;

// ---- requests ------------------------------------------------------------------------------------------------------

struct Case {
    std::string op, spec, dtype_name, tier_name, warmth, layout;
    int64_t experts = 0, rows = 0, columns = 0;
    int threads = 0;

    int32_t dtype() const
    {
        return dtype_name == "fp32" ? MOEQ_DTYPE_FP32 : dtype_name == "fp16" ? MOEQ_DTYPE_FP16 : MOEQ_DTYPE_BF16;
    }
    int32_t tier() const
    {
        return tier_name == "scalar"   ? MOEQ_CPU_TIER_SCALAR
               : tier_name == "avx2"   ? MOEQ_CPU_TIER_AVX2
               : tier_name == "avx512" ? MOEQ_CPU_TIER_AVX512
                                       : MOEQ_CPU_TIER_BEST;
    }
    std::vector<int64_t> shape() const { return {experts, rows, columns}; }
    // Every fourth expert, in falling order: what a router may ask for.
    std::vector<int64_t> listed() const
    {
        std::vector<int64_t> ids;
        for (int64_t id = experts - 1; id >= 0; id -= 4)
            ids.push_back(id);
        return ids;
    }
    // The middle half of the rows.
    int64_t row_begin() const { return rows / 4; }
    int64_t row_end() const { return row_begin() + (rows + 1) / 2; }

    int64_t moved_experts() const
    {
        return op == "dequantize_experts" ? static_cast<int64_t>(listed().size()) : experts;
    }
    int64_t moved_rows() const { return op == "dequantize_rows" ? row_end() - row_begin() : rows; }
    int64_t elements() const { return moved_experts() * moved_rows() * columns; }

    // How [experts, rows, columns] of so many rows lie in memory, and the elements from the first to the last of them.
    std::vector<int64_t> strides(int64_t some_rows) const
    {
        if (layout == "transposed")
            return {some_rows * columns, 1, some_rows};
        const int64_t pitch = columns + (layout == "padded" ? kPadding : 0);
        return {some_rows * pitch, pitch, 1};
    }
    int64_t span(int64_t some_experts, int64_t some_rows) const { return some_experts * strides(some_rows)[0]; }
};

// Weights of a bell curve, as bits of the type; the pattern repeats.
Memory make_source(int32_t dtype, int64_t count)
{
    const int64_t size = bytes_of(dtype);
    std::vector<char> pattern(static_cast<size_t>(kPatternElements * size));
    uint64_t state = 88172645463325252u;
    for (int64_t i = 0; i < kPatternElements; ++i) {
        float sum = 0;
        for (int k = 0; k < 4; ++k) {
            state = state * 6364136223846793005u + 1442695040888963407u;
            sum += static_cast<float>(state >> 40) / static_cast<float>(1 << 24) - 0.5f;
        }
        const float value = 0.05f * sum;
        uint32_t bits;
        std::memcpy(&bits, &value, 4);
        if (dtype == MOEQ_DTYPE_BF16)
            bits >>= 16;
        if (dtype == MOEQ_DTYPE_FP16) { // truncated; magnitudes below 2^-14 become 0
            const uint32_t exponent = bits >> 23 & 0xFF;
            bits = exponent < 113 ? 0 : (bits >> 16 & 0x8000) | (exponent - 112) << 10 | (bits >> 13 & 0x3FF);
        }
        std::memcpy(pattern.data() + i * size, &bits, static_cast<size_t>(size));
    }
    Memory memory(count * size, true);
    for (int64_t at = 0; at < count; at += kPatternElements)
        std::memcpy(memory.data() + at * size, pattern.data(),
                    static_cast<size_t>(std::min(kPatternElements, count - at) * size));
    return memory;
}

// The last source, because many requests in a row have the same.
char* source_of(int32_t dtype, int64_t count)
{
    static Memory memory;
    static int32_t last_dtype = 0;
    static int64_t last_count = 0;
    if (dtype != last_dtype || count != last_count) {
        memory = Memory();
        memory = make_source(dtype, count);
        last_dtype = dtype;
        last_count = count;
    }
    return memory.data();
}

// ---- the mover -----------------------------------------------------------------------------------------------------

Mix mix_of(int64_t bits_in, int64_t bits_out)
{
    if (bits_out == 0)
        return {4, 0}; // four loads a step, so that the loop itself costs nothing
    const auto common = std::min(bits_in, bits_out);
    return {static_cast<int>(bits_in / common), static_cast<int>(bits_out / common)};
}

// A mover of a case: the whole span, in a contiguous part for each thread; what does not fill a step is left out and the
// time scaled up.
class MovingRuns {
public:
    MovingRuns(const Mover& mover, Mix mix, int64_t bytes_in, int threads, const char* source, char* destination)
        : mover_(mover), threads_(threads), step_in_(int64_t{mix.reads} * mover.vector_bytes),
          step_out_(int64_t{mix.writes} * mover.vector_bytes), steps_(bytes_in / step_in_), bytes_in_(bytes_in),
          source_(source), destination_(destination)
    {
        run();
    }

    // One more run. Its threads end with it, so that none is in the way of what comes next.
    void run()
    {
        Team team(threads_, [this](int thread) { move_part(thread); });
        const auto move = [&] { team.run(); };
        if (repeats_ == 0) {
            repeats_ = repeats_of(move);
            return;
        }
        const double once = run_ns(move, repeats_);
        const double moved = static_cast<double>(std::max<int64_t>(steps_, 1) * step_in_);
        times_.push_back(once * static_cast<double>(bytes_in_) / moved);
    }

    const Mover& mover() const { return mover_; }
    const Times& times() const { return times_; }

private:
    void move_part(int thread) const
    {
        const int64_t granule = 64 / mover_.vector_bytes; // parts begin at cache lines
        const auto begin = [&](int i) { return steps_ * i / threads_ / granule * granule; };
        const int64_t from = begin(thread);
        const int64_t to = thread + 1 == threads_ ? steps_ : begin(thread + 1);
        mover_.loop(source_ + from * step_in_, destination_ + from * step_out_, to - from);
    }

    Mover mover_;
    int threads_;
    int64_t step_in_, step_out_, steps_, bytes_in_;
    const char* source_;
    char* destination_;
    int64_t repeats_ = 0;
    Times times_;
};

// ---- moeq ----------------------------------------------------------------------------------------------------------

struct Destination {
    moeq_component_info info;
    Memory memory;
};

// A case with everything it needs, ready to be called.
class Work {
public:
    explicit Work(const Case& request) : request_(request), source_(nullptr)
    {
        auto options = sized<moeq_context_options>();
        options.thread_limit = request.threads;
        options.cpu_tier = request.tier();
        moeq_error error{};
        check(moeq_context_create(&options, &context_, &error), error);
        source_ = source_of(request.dtype(), request.span(request.experts, request.rows));
        if (!reduces()) {
            spec_ = sized<moeq_spec>();
            check(moeq_spec_parse(request.spec.c_str(), &spec_, &error), error);
            spec_.logical_dtype = request.dtype();
        }
        if (request.op == "quantize")
            make_destinations();
        if (dequantizes()) {
            make_qtensor();
            results_ = Memory(result_bytes(), true);
        }
    }
    ~Work()
    {
        if (codes_ != nullptr)
            codes_->deleter(codes_);
        moeq_qtensor_release(qtensor_);
        moeq_context_destroy(context_);
    }
    Work(const Work&) = delete;
    Work& operator=(const Work&) = delete;

    bool reduces() const { return request_.op == "amax" || request_.op == "sum"; }
    bool dequantizes() const { return request_.op.rfind("dequantize", 0) == 0; }
    // What is read and what is written, apart from statistics. The movers take the same memory, because how fast a cache is
    // depends on which pages one has.
    const char* read() const { return dequantizes() ? static_cast<const char*>(codes_->dl_tensor.data) : source_; }
    char* written() { return dequantizes() ? results_.data() : reduces() ? nullptr : codes_memory(); }

    // Bits of one element: weights on the one side, codes on the other. Scales come on top.
    int64_t weight_bits() const { return bytes_of(request_.dtype()) * 8; }
    int64_t code_bits() const { return spec_.format == MOEQ_FORMAT_NF4 || spec_.format == MOEQ_FORMAT_FP4 ? 4 : 8; }
    int64_t bits_in() const { return dequantizes() ? code_bits() : weight_bits(); }
    int64_t bits_out() const { return reduces() ? 0 : dequantizes() ? weight_bits() : code_bits(); }
    int64_t bytes_in() const { return (request_.elements() * bits_in() + 7) / 8; }
    int64_t bytes_out() const { return (request_.elements() * bits_out() + 7) / 8; }

    // Nanoseconds of each run; `between` runs around them.
    Times measure_moeq(const std::function<void()>& between)
    {
        if (reduces())
            return measure_reduce(between);
        if (request_.op == "quantize")
            return measure_quantize(between);
        return measure_dequantize(between);
    }

private:
    void make_destinations()
    {
        const auto shape = request_.shape();
        for (int32_t id = MOEQ_COMPONENT_CODES; id <= MOEQ_COMPONENT_NESTED_OFFSET; ++id) {
            auto info = sized<moeq_component_info>();
            moeq_error error{};
            const moeq_status status = moeq_spec_get_component(&spec_, 3, shape.data(), id, &info, &error);
            if (status == MOEQ_ERROR_NOT_FOUND)
                continue;
            check(status, error);
            destinations_.push_back({info, Memory(info.bytes, true)});
        }
    }

    void make_qtensor()
    {
        Tensor source(request_.dtype(), request_.shape(), source_);
        moeq_error error{};
        check(moeq_qtensor_quantize(context_, source, &spec_, nullptr, nullptr, &qtensor_, &error), error);
        check(moeq_qtensor_export(qtensor_, MOEQ_COMPONENT_CODES, &codes_, &error), error);
    }

    char* codes_memory()
    {
        for (Destination& destination : destinations_)
            if (destination.info.component == MOEQ_COMPONENT_CODES)
                return destination.memory.data();
        fail("no codes");
    }

    int64_t result_bytes() const
    {
        return request_.span(request_.moved_experts(), request_.moved_rows()) * bytes_of(request_.dtype());
    }

    moeq_reduce_options reduce_options() const
    {
        static constexpr int32_t kAxes[] = {1, 2, 0}; // experts: the first two; rows: the second; columns: the last
        static constexpr int64_t kBlocks[] = {1, 128, 128};
        auto options = sized<moeq_reduce_options>();
        options.operation = request_.op == "sum" ? MOEQ_REDUCE_SUM : MOEQ_REDUCE_AMAX;
        if (request_.spec == "experts" || request_.spec == "rows" || request_.spec == "columns") {
            options.axes = request_.spec == "rows" ? kAxes + 1 : kAxes;
            options.axis_count = request_.spec == "experts" ? 2 : 1;
        }
        if (request_.spec == "blocks")
            options.blocks = kBlocks;
        return options;
    }

    Times measure_reduce(const std::function<void()>& between)
    {
        const moeq_reduce_options options = reduce_options();
        const std::vector<int64_t> shape = request_.shape();
        int32_t ndim = 0;
        int64_t extents[8] = {};
        moeq_error error{};
        check(moeq_reduce_shape(3, shape.data(), &options, &ndim, extents, &error), error);
        const std::vector<int64_t> results(extents, extents + ndim);
        int64_t count = 1;
        for (const int64_t extent : results)
            count *= extent;
        std::vector<float> memory(static_cast<size_t>(count));
        Tensor source(request_.dtype(), shape, source_);
        Tensor destination(MOEQ_DTYPE_FP32, results, memory.data());
        const auto call = [&] {
            moeq_error status;
            check(moeq_reduce(context_, source, &options, nullptr, destination, &status), status);
        };
        return measure(call, between);
    }

    Times measure_quantize(const std::function<void()>& between)
    {
        Tensor source(request_.dtype(), request_.shape(), source_, request_.strides(request_.rows));
        std::vector<std::unique_ptr<Tensor>> tensors;
        std::vector<moeq_component> components;
        for (Destination& destination : destinations_) {
            const moeq_component_info& info = destination.info;
            tensors.push_back(std::make_unique<Tensor>(
                info.dtype, std::vector<int64_t>(info.shape, info.shape + info.ndim), destination.memory.data()));
            components.push_back({info.component, 0, *tensors.back()});
        }
        const auto call = [&] {
            moeq_error error;
            check(moeq_quantize_into(context_, source, &spec_, nullptr, nullptr, components.data(),
                                     static_cast<int64_t>(components.size()), &error),
                  error);
        };
        return measure(call, between);
    }

    Times measure_dequantize(const std::function<void()>& between)
    {
        const std::vector<int64_t> ids = request_.listed();
        auto region = sized<moeq_region>();
        if (request_.op == "dequantize_experts") {
            region.experts = ids.data();
            region.expert_count = static_cast<int64_t>(ids.size());
        }
        if (request_.op == "dequantize_rows") {
            region.row_begin = request_.row_begin();
            region.row_end = request_.row_end();
        }
        const moeq_region* which = request_.op == "dequantize" ? nullptr : &region;
        const std::vector<int64_t> shape{request_.moved_experts(), request_.moved_rows(), request_.columns};
        const std::vector<int64_t> strides = request_.strides(request_.moved_rows());
        const auto call = [&](void* data) {
            Tensor destination(request_.dtype(), shape, data, strides);
            moeq_error error;
            check(moeq_qtensor_dequantize(qtensor_, which, nullptr, destination, &error), error);
        };
        if (request_.warmth == "cold")
            return measure_cold(result_bytes(), call, between);
        return measure([&] { call(results_.data()); }, between);
    }

    const Case& request_;
    moeq_context* context_ = nullptr;
    moeq_qtensor* qtensor_ = nullptr;
    DLManagedTensorVersioned* codes_ = nullptr; // of the qtensor
    Memory results_;                            // where it is dequantized to
    moeq_spec spec_{};
    char* source_;
    std::vector<Destination> destinations_;
};

// ---- answers -------------------------------------------------------------------------------------------------------

void print_times(std::ostream& out, const Times& times)
{
    out << '[';
    for (size_t i = 0; i < times.size(); ++i)
        out << (i ? "," : "") << static_cast<int64_t>(times[i]);
    out << ']';
}

// The movers run before, between and after the runs of moeq, so that each of these has neighbours in time: a machine that
// changes its pace changes both.
void answer_case(const Case& request)
{
    Work work(request);
    const Mix mix = mix_of(work.bits_in(), work.bits_out());
    std::vector<MovingRuns> movers;
    for (const Mover& mover : movers_of(mix))
        movers.emplace_back(mover, mix, work.bytes_in(), request.threads, work.read(), work.written());
    if (movers.empty())
        fail("no mover of this mix");
    const Times times = work.measure_moeq([&] {
        for (MovingRuns& mover : movers)
            mover.run();
    });

    std::ostringstream out;
    out << "{\"elements\":" << request.elements() << ",\"bytes_in\":" << work.bytes_in()
        << ",\"bytes_out\":" << work.bytes_out() << ",\"moeq_ns\":";
    print_times(out, times);
    out << ",\"movers\":[";
    for (size_t i = 0; i < movers.size(); ++i) {
        const Mover& mover = movers[i].mover();
        out << (i ? "," : "") << "{\"isa\":\"" << mover.isa << "\",\"stores\":\"" << mover.stores << "\",\"ns\":";
        print_times(out, movers[i].times());
        out << '}';
    }
    out << "]}";
    std::cout << out.str() << std::endl;
}

void answer_call(const std::string& spec)
{
    const Case request{"dequantize", spec, "bf16", "best", "warm", "plain", 1, 1, 64, 1};
    Work work(request);
    std::ostringstream out;
    out << "{\"ns\":" << median(work.measure_moeq([] {})) << '}';
    std::cout << out.str() << std::endl;
}

std::vector<int> allowed_cpus()
{
    cpu_set_t set;
    std::vector<int> cpus;
    if (sched_getaffinity(0, sizeof set, &set) == 0)
        for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
            if (CPU_ISSET(cpu, &set))
                cpus.push_back(cpu);
    return cpus;
}

void pin(int cpu)
{
    cpu_set_t set;
    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof set, &set);
}

// Nanoseconds for a cache line to go from one core to another and back.
double round_trip_ns(int first, int second)
{
    alignas(64) std::atomic<int> ball{0};
    double elapsed = 0;
    std::thread answer([&] {
        pin(second);
        for (int i = 0; i < kPingPongs; ++i) {
            while (ball.load(std::memory_order_acquire) != 2 * i + 1) {
            }
            ball.store(2 * i + 2, std::memory_order_release);
        }
    });
    std::thread ask([&] {
        pin(first);
        double start = 0;
        for (int i = 0; i < kPingPongs; ++i) {
            if (i == kPingPongs / 10)
                start = now_ns(); // both are awake by now
            ball.store(2 * i + 1, std::memory_order_release);
            while (ball.load(std::memory_order_acquire) != 2 * i + 2) {
            }
        }
        elapsed = (now_ns() - start) / (kPingPongs - kPingPongs / 10);
    });
    ask.join();
    answer.join();
    return elapsed;
}

void answer_machine()
{
    moeq_context* context = nullptr;
    moeq_blob* text = nullptr;
    moeq_error error{};
    check(moeq_context_create(nullptr, &context, &error), error);
    check(moeq_context_describe(context, &text, &error), error);
    std::string described(static_cast<const char*>(moeq_blob_data(text)));
    std::replace(described.begin(), described.end(), '\n', ' ');
    moeq_blob_destroy(text);
    moeq_context_destroy(context);

    const std::vector<int> cpus = allowed_cpus();
    std::ostringstream out;
    out << "{\"cpus\":" << cpus.size() << ",\"round_trips\":[";
    for (size_t i = 1; i < std::min<size_t>(cpus.size(), 17); ++i) {
        Times trips;
        for (int run = 0; run < kRuns; ++run)
            trips.push_back(round_trip_ns(cpus[0], cpus[i]));
        out << (i > 1 ? "," : "") << "{\"cpus\":[" << cpus[0] << ',' << cpus[i] << "],\"ns\":" << median(trips) << '}';
    }
    out << "],\"moeq\":" << described << '}';
    std::cout << out.str() << std::endl;
}

} // namespace

int main_loop()
{
    std::string line;
    while (std::getline(std::cin, line)) {
        std::istringstream words(line);
        std::string kind;
        Case request;
        words >> kind;
        if (kind == "machine") {
            answer_machine();
            continue;
        }
        if (kind == "call") {
            words >> request.spec;
            answer_call(request.spec);
            continue;
        }
        words >> request.op >> request.spec >> request.dtype_name >> request.experts >> request.rows >>
            request.columns >> request.threads >> request.tier_name >> request.warmth >> request.layout;
        if (kind != "case" || !words || request.elements() <= 0 || request.threads <= 0)
            fail("not a request: " + line);
        answer_case(request);
    }
    return 0;
}

} // namespace moeq_bench

int main() { return moeq_bench::main_loop(); }
