// Random checkpoints through the C API: open, plan, convert, open and verify of the result, loads of parts.
//
//     random_checkpoints [--seed S] [--count N] [--most-failures N] [--keep FOLDER]
//
// Seeds S ... S + N - 1 are tried, each one a checkpoint that depends on nothing else; --seed S --count 1 does one again. A child
// process does them, so that a signal or an endless call is a failure of one seed. What fails is kept in FOLDER/seed-S.
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>

#include "random/trial.h"

namespace {

namespace fs = std::filesystem;
using moeq_random::TrialResult;

constexpr int kMostWait = 60; // seconds that a trial may take, however busy the machine is

struct Settings {
    uint64_t seed = 1;
    uint64_t count = 1000;
    uint64_t most_failures = 10;
    std::string keep;
};

// What the child tells while it lives.
struct Shared {
    uint64_t next; // the seed that is being tried
    uint64_t failures, opened, planned, converted;
};

bool read_settings(int count, char** arguments, Settings* out)
{
    for (int i = 1; i + 1 < count; i += 2) {
        const std::string name = arguments[i];
        char* end = nullptr;
        const uint64_t number = std::strtoull(arguments[i + 1], &end, 10);
        if (name == "--keep")
            out->keep = arguments[i + 1];
        else if (*end != '\0' || end == arguments[i + 1])
            return false;
        else if (name == "--seed")
            out->seed = number;
        else if (name == "--count")
            out->count = number;
        else if (name == "--most-failures")
            out->most_failures = number;
        else
            return false;
    }
    return count % 2 == 1;
}

// In memory, where the machine has a file system of it.
std::string make_folder()
{
    const char* named = std::getenv("TMPDIR");
    const bool memory = named == nullptr && ::access("/dev/shm", W_OK) == 0;
    std::string pattern = std::string(named != nullptr ? named : memory ? "/dev/shm" : "/tmp") + "/moeq-random-XXXXXX";
    if (::mkdtemp(pattern.data()) == nullptr) {
        std::perror(pattern.c_str());
        std::exit(2);
    }
    return pattern;
}

void keep_folder(const std::string& folder, uint64_t seed, const Settings& settings)
{
    const std::string where = settings.keep.empty() ? "build/random" : settings.keep;
    const std::string kept = where + "/seed-" + std::to_string(seed);
    std::error_code ignored;
    fs::remove_all(kept, ignored);
    fs::create_directories(where, ignored);
    fs::copy(folder, kept, fs::copy_options::recursive, ignored);
    std::printf("    kept in %s; again: random_checkpoints --seed %llu --count 1\n", kept.c_str(),
                static_cast<unsigned long long>(seed));
}

void empty_folder(const std::string& folder)
{
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(folder))
        fs::remove_all(entry.path(), ignored);
}

[[noreturn]] void run_child(const Settings& settings, const std::string& folder, Shared* shared)
{
    moeq_context* context = nullptr;
    auto options = moeq_random::sized<moeq_context_options>();
    options.thread_limit = 1;
    if (moeq_context_create(&options, &context, nullptr) != MOEQ_OK)
        ::_exit(2);
    for (; shared->next < settings.seed + settings.count && shared->failures < settings.most_failures; ++shared->next) {
        const uint64_t seed = shared->next;
        ::alarm(kMostWait);
        const TrialResult result = moeq_random::run_trial(seed, folder, context);
        ::alarm(0);
        shared->opened += result.opened ? 1 : 0;
        shared->planned += result.planned ? 1 : 0;
        shared->converted += result.converted ? 1 : 0;
        if (!result.problem.empty()) {
            ++shared->failures;
            std::printf("seed %llu: %s\n    with %s\n", static_cast<unsigned long long>(seed), result.problem.c_str(),
                        result.done.c_str());
            keep_folder(folder, seed, settings);
            std::fflush(stdout);
        }
        empty_folder(folder);
    }
    moeq_context_destroy(context);
    std::exit(0);
}

// Until all seeds are done: a child that dies is a failure of the seed that it was at.
void run_all(const Settings& settings, const std::string& folder, Shared* shared)
{
    while (shared->next < settings.seed + settings.count && shared->failures < settings.most_failures) {
        const pid_t child = ::fork();
        if (child == 0)
            run_child(settings, folder, shared);
        int status = 0;
        if (child < 0 || ::waitpid(child, &status, 0) != child) {
            std::perror("fork");
            std::exit(2);
        }
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
            return;
        ++shared->failures;
        std::printf("seed %llu: ended by %s %d\n", static_cast<unsigned long long>(shared->next),
                    WIFSIGNALED(status) ? "signal" : "status",
                    WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
        keep_folder(folder, shared->next, settings);
        std::fflush(stdout);
        empty_folder(folder);
        ++shared->next;
    }
}

} // namespace

int main(int count, char** arguments)
{
    Settings settings;
    if (!read_settings(count, arguments, &settings)) {
        std::fprintf(stderr, "usage: %s [--seed S] [--count N] [--most-failures N] [--keep FOLDER]\n", arguments[0]);
        return 2;
    }
    auto* shared = static_cast<Shared*>(
        ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0));
    if (shared == MAP_FAILED)
        return 2;
    *shared = {settings.seed, 0, 0, 0, 0};
    const std::string folder = make_folder();
    run_all(settings, folder, shared);
    std::error_code ignored;
    fs::remove_all(folder, ignored);
    std::printf("%llu checkpoints from seed %llu: %llu opened, %llu planned, %llu converted, %llu failures\n",
                static_cast<unsigned long long>(shared->next - settings.seed),
                static_cast<unsigned long long>(settings.seed), static_cast<unsigned long long>(shared->opened),
                static_cast<unsigned long long>(shared->planned), static_cast<unsigned long long>(shared->converted),
                static_cast<unsigned long long>(shared->failures));
    // A generator that makes nothing of use would find nothing.
    const bool useful =
        settings.count < 1000 || (shared->opened * 3 > settings.count && shared->converted * 5 > settings.count);
    if (!useful)
        std::printf("too few of them were opened or converted\n");
    return shared->failures == 0 && useful ? 0 : 1;
}
