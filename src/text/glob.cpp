#include "text/glob.h"

#include "core/text.h"

namespace moeq::text {

namespace {

// Both texts are walked over from their ends, where names differ soonest. After a mismatch it goes on at the last star of either
// kind, which takes one character more: a `*` until it would take a dot, then the last `**`.
class Walk {
public:
    // hole "": there is none.
    Walk(const char* glob, const char* name, int64_t length, const char* hole, GlobMatch* out)
        : glob_(glob), name_(name), hole_(hole), hole_length_(static_cast<int64_t>(std::strlen(hole))),
          hole_end_(hole_length_ == 0 ? '\0' : hole[hole_length_ - 1]), out_(*out),
          glob_left_(static_cast<int64_t>(std::strlen(glob))), name_left_(length)
    {
    }

    bool run()
    {
        while (glob_left_ > 0 || name_left_ > 0)
            if (!step() && !retry_star() && !retry_wide())
                return false;
        return true;
    }

private:
    static constexpr int64_t kNone = -1;

    // A star that was met: what is left of the glob behind it, and of the name behind what it has taken.
    struct Star {
        int64_t glob_left = kNone; // kNone: there is none
        int64_t name_left = 0;
        int32_t index = 0;
    };

    // Takes what the glob has next. False: the name does not have it here.
    bool step()
    {
        if (glob_left_ == 0)
            return false;
        const char next = glob_[glob_left_ - 1];
        if (next == '*')
            return glob_left_ > 1 && glob_[glob_left_ - 2] == '*' ? step_wide() : step_star(1);
        if (next == hole_end_ && ends_with(glob_, glob_left_, hole_))
            return step_star(hole_length_);
        if (name_left_ == 0 || next != name_[name_left_ - 1])
            return false;
        --glob_left_;
        --name_left_;
        return true;
    }
    bool step_wide()
    {
        wide_ = begin_star(2);
        star_ = {};
        first_ = failed_ = kNone;
        return true;
    }
    bool step_star(int64_t length)
    {
        if (is_hopeless())
            return false;
        first_ = first_ == kNone ? name_left_ : first_;
        star_ = begin_star(length);
        return true;
    }

    Star begin_star(int64_t length)
    {
        glob_left_ -= length;
        if (out_.count < kGlobStars)
            out_.stars[out_.count] = {glob_left_, name_left_, 0};
        return {glob_left_, name_left_, out_.count++};
    }

    // Goes back to a star that has taken one character more.
    bool retry(Star* star)
    {
        glob_left_ = star->glob_left;
        name_left_ = --star->name_left;
        out_.count = star->index + 1;
        if (star->index < kGlobStars) {
            --out_.stars[star->index].begin;
            ++out_.stars[star->index].length;
        }
        return true;
    }
    bool retry_star()
    {
        const bool can = star_.glob_left != kNone && star_.name_left > 0 && name_[star_.name_left - 1] != '.';
        return can && retry(&star_);
    }
    bool retry_wide()
    {
        if (wide_.glob_left == kNone || wide_.name_left == 0)
            return false;
        failed_ = first_ == kNone ? failed_ : begin_of_segment(first_);
        first_ = kNone;
        star_ = {};
        return retry(&wide_);
    }

    // The first `*` behind a `**` has failed in this segment, and one that begins later in it could take only what that one
    // could, too. So a name is not walked over once for each of its characters.
    bool is_hopeless() const { return first_ == kNone && failed_ != kNone && name_left_ >= failed_; }
    int64_t begin_of_segment(int64_t at) const
    {
        while (at > 0 && name_[at - 1] != '.')
            --at;
        return at;
    }

    const char* const glob_;
    const char* const name_;
    const char* const hole_;
    const int64_t hole_length_;
    const char hole_end_; // a glob has no NUL
    GlobMatch& out_;
    int64_t glob_left_;
    int64_t name_left_;
    Star star_;              // the last `*` since the last `**`
    Star wide_;              // the last `**`
    int64_t first_ = kNone;  // of the name, where the first `*` since that `**` began
    int64_t failed_ = kNone; // where the segment begins in which one has failed
};

} // namespace

bool match_glob(const char* glob, const char* name, int64_t length, const char* hole, GlobMatch* out)
{
    out->count = 0;
    return Walk(glob, name, length, hole, out).run();
}

bool glob_matches(const char* glob, const char* name)
{
    GlobMatch unused;
    return match_glob(glob, name, static_cast<int64_t>(std::strlen(name)), "", &unused);
}

} // namespace moeq::text
