#include "api/context.h"
#include "api/arguments.h"

#include <cstdlib>

#include "api/blob.h"
#include "api/boundary.h"
#include "core/text.h"
#include "cpu/dispatch.h"
#include "device/backends.h"
#include "host/references.h"

using namespace moeq;

// The context's own memory came from the hooks that it holds, and goes back to them last.
void moeq_context::release() const
{
    if (references.fetch_sub(1, std::memory_order_acq_rel) != 1)
        return;
    auto* self = const_cast<moeq_context*>(this);
    Pool::destroy(pool);
    void* const hook_user = user;
    const moeq_destroy_fn destroy_user = user_destroy;
    const moeq_host_free_fn host_free = self->allocator.free_hook();
    self->~moeq_context();
    Allocator(nullptr, host_free, hook_user).free(self, sizeof *self);
    if (destroy_user != nullptr)
        destroy_user(hook_user);
}

namespace {

moeq_status check_options(const moeq_context_options& options, const char* tier_variable, Report& report)
{
    if ((options.host_alloc == nullptr) != (options.host_free == nullptr))
        return report.fail(MOEQ_ERROR_ARGUMENT, arg::context_create::options)
               << "got "
               << (options.host_alloc == nullptr ? "host_free without host_alloc" : "host_alloc without host_free")
               << "; want both or neither";
    if (options.thread_limit < 0)
        return report.fail(MOEQ_ERROR_ARGUMENT, arg::context_create::options)
               << "got thread_limit " << options.thread_limit << "; want 0 (automatic), 1 (serial) or more";
    if (options.reserved != 0)
        return report.fail(MOEQ_ERROR_ARGUMENT, arg::context_create::options)
               << "got reserved " << options.reserved << "; want 0";
    if (options.cpu_tier < MOEQ_CPU_TIER_BEST || options.cpu_tier > MOEQ_CPU_TIER_NEON)
        return report.fail(MOEQ_ERROR_ARGUMENT, arg::context_create::options)
               << "got cpu_tier " << options.cpu_tier << "; want a MOEQ_CPU_TIER_ constant";
    if (options.cpu_tier != MOEQ_CPU_TIER_BEST && !cpu::tier_available(options.cpu_tier))
        return report.fail(MOEQ_ERROR_UNSUPPORTED, arg::context_create::options)
               << "got cpu_tier " << cpu::tier_name(options.cpu_tier) << "; " << cpu::tier_missing(options.cpu_tier)
               << "; want MOEQ_CPU_TIER_BEST or a lower one";
    if (cpu::parse_tier(tier_variable) < 0) {
        Failure failure = report.fail(MOEQ_ERROR_ARGUMENT);
        failure << "got MOEQ_CPU_TIER=";
        return failure.quoted(tier_variable) << " in the environment; want scalar, avx2, avx512, neon or best";
    }
    return MOEQ_OK;
}

// Moves a context that was built in a local allocator's memory into being: its own allocator then owns and counts it.
moeq_context* construct(const moeq_context_options& options, const char* tier_variable, Report& report,
                        moeq_status* status)
{
    Allocator bootstrap(options.host_alloc, options.host_free, options.user);
    void* memory = bootstrap.allocate(sizeof(moeq_context));
    if (memory == nullptr) {
        *status = report.out_of_memory(sizeof(moeq_context));
        return nullptr;
    }
    const auto [tier, reason] = cpu::choose_tier(options.cpu_tier, tier_variable);
    const int32_t wanted = options.thread_limit != 0 ? options.thread_limit : usable_threads();
    const int32_t threads = wanted < kMaxThreads ? wanted : kMaxThreads;
    auto* context = ::new (memory) moeq_context(options, tier, threads);
    context->allocator.adopt(sizeof(moeq_context));
    context->tier_reason = reason;
    fill_reference_kernels(&context->kernels);
    cpu::overlay_tier(tier, &context->kernels);
    *status = MOEQ_OK;
    return context;
}

} // namespace

extern "C" moeq_status moeq_context_create(const moeq_context_options* options, moeq_context** out, moeq_error* err)
{
    return guarded("moeq_context_create", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(out, arg::context_create::out, report));
        *out = nullptr;
        moeq_context_options known;
        MOEQ_TRY(read_struct(options, &known, arg::context_create::options, report));
        const char* tier_variable = std::getenv("MOEQ_CPU_TIER");
        MOEQ_TRY(check_options(known, tier_variable, report));
        moeq_status status = MOEQ_OK;
        moeq_context* context = construct(known, tier_variable, report, &status);
        if (context == nullptr)
            return status;
        if (context->own_executor && context->threads > 1) {
            context->pool = Pool::create(context->allocator, context->threads);
            if (context->pool == nullptr) {
                context->user_destroy = nullptr; // `user` stays the caller's after an error
                context->release();
                return report.out_of_memory(0);
            }
            context->executor = Executor(nullptr, nullptr, context->pool);
        }
        *out = context;
        return MOEQ_OK;
    });
}

extern "C" void moeq_context_destroy(moeq_context* context)
{
    if (context != nullptr && LiveHandle::is_alive(context))
        context->release();
}

extern "C" moeq_status moeq_context_get_memory(const moeq_context* context, moeq_memory* out, moeq_error* err)
{
    return guarded("moeq_context_get_memory", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_handle(context, arg::context_get_memory::context, report));
        MOEQ_TRY(check_not_null(out, arg::context_get_memory::out, report));
        MOEQ_TRY(check_struct_size<moeq_memory>(out->struct_size, arg::context_get_memory::out, report));
        moeq_memory memory{};
        memory.host_live = context->allocator.live();
        memory.host_peak = context->allocator.peak();
        write_struct(memory, out);
        return MOEQ_OK;
    });
}

namespace {

void describe_tiers(const moeq_context& context, Text& text)
{
    text.add("\"cpu\": {\"tier\": \"").add(cpu::tier_name(context.tier));
    text.add("\", \"reason\": \"").add(context.tier_reason).add("\", \"tiers\": {");
    for (int32_t tier = MOEQ_CPU_TIER_SCALAR; tier <= MOEQ_CPU_TIER_NEON; ++tier) {
        const char* missing = cpu::tier_missing(tier);
        text.add(tier == MOEQ_CPU_TIER_SCALAR ? "\"" : ", \"").add(cpu::tier_name(tier)).add("\": \"");
        text.add(missing == nullptr ? "available" : missing).add('"');
    }
    text.add("}}");
}

void describe_cuda(Text& text)
{
    const char* absent = why_no_cuda();
    if (absent == nullptr) {
        text.add("\"available\"");
        return;
    }
    text.add("\"absent: ");
    for (; *absent != '\0'; ++absent) { // what the loader says may quote the names of files
        if (*absent == '"' || *absent == '\\')
            text.add('\\');
        text.add(static_cast<unsigned char>(*absent) < ' ' ? ' ' : *absent);
    }
    text.add('"');
}

} // namespace

extern "C" moeq_status moeq_context_describe(const moeq_context* context, moeq_blob** out, moeq_error* err)
{
    return guarded("moeq_context_describe", err, [&](Report& report) -> moeq_status {
        MOEQ_TRY(check_not_null(out, arg::context_describe::out, report));
        *out = nullptr;
        MOEQ_TRY(check_handle(context, arg::context_describe::context, report));
        char buffer[2048];
        Text text(buffer, sizeof buffer);
        text.add("{\"version\": \"").add(moeq_version_string()).add("\", \"abi\": ").add(moeq_abi_version()).add(", ");
        describe_tiers(*context, text);
        text.add(", \"threads\": {\"limit\": ").add(context->threads).add(", \"executor\": \"");
        text.add(!context->own_executor ? "caller" : context->pool != nullptr ? "pool" : "serial");
        text.add("\"}, \"handle_checks\": ").add(LiveHandle::kChecked ? "true" : "false");
        text.add(", \"backends\": {\"cuda\": ");
        describe_cuda(text);
        text.add("}}");
        return blob_create(*context, text.c_str(), static_cast<int64_t>(text.size()), out, report);
    });
}
