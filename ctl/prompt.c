#include "ctl/prompt.h"

#include "node/base/mem.h"

#include <fcntl.h>
#include <stdio.h>
#include <termios.h>
#include <unistd.h>

enum { ANSWER_MAX = 1024 };

/* Up to and without the LF, octet by octet: what comes after is not ours. -1: nothing came, or too much. */
static int line_read(int fd, char *line, size_t max)
{
    size_t n = 0;
    char c;

    while (read(fd, &c, 1) == 1) {
        if (c == '\n') {
            if (n > 0 && line[n - 1] == '\r')
                n--;
            line[n] = '\0';
            return (int)n;
        }
        if (n + 1 >= max)
            return -1;
        line[n++] = c;
    }
    line[n] = '\0';
    return n > 0 ? (int)n : -1;
}

static void say(int fd, const char *text)
{
    ssize_t n = write(fd, text, strlen(text));
    (void)n; /* a prompt that cannot be shown fails at the answer */
}

static int hidden_read(int tty, const char *prompt, char *line, size_t max)
{
    struct termios before, quiet;
    bool changed = tcgetattr(tty, &before) == 0;

    if (changed) {
        quiet = before;
        quiet.c_lflag &= ~(tcflag_t)ECHO;
        tcsetattr(tty, TCSAFLUSH, &quiet);
    }
    say(tty, prompt);
    int n = line_read(tty, line, max);
    if (changed)
        tcsetattr(tty, TCSAFLUSH, &before);
    say(tty, "\n");
    return n;
}

static int tty_password(char *line, char *again, struct err_detail *detail)
{
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);

    if (tty < 0)
        return err_set(detail, ERR_INVALID, "no terminal to ask for the password: use --password-stdin");
    int n = hidden_read(tty, "Password: ", line, ANSWER_MAX);
    int m = n > 0 ? hidden_read(tty, "Once more: ", again, ANSWER_MAX) : -1;
    close(tty);
    if (n > 0 && (n != m || memcmp(line, again, (size_t)n) != 0))
        return err_set(detail, ERR_INVALID, "the two passwords differ: nothing is changed");
    return n;
}

int password_read(bool from_stdin, struct buf *out, struct err_detail *detail)
{
    char line[ANSWER_MAX], again[ANSWER_MAX];
    int n = from_stdin ? line_read(STDIN_FILENO, line, sizeof(line)) : tty_password(line, again, detail);

    if (n > 0) {
        buf_reserve(out, ANSWER_MAX);
        buf_append(out, line, (size_t)n);
        buf_append_byte(out, '\0');
    } else if (n == 0 || n == -1) {
        n = err_set(detail, ERR_INVALID, "the password is empty, or longer than %d octets", ANSWER_MAX - 1);
    }
    mem_wipe(line, sizeof(line));
    mem_wipe(again, sizeof(again));
    return n > 0 ? 0 : ERR_INVALID;
}

int confirm(const char *question, struct err_detail *detail)
{
    char line[ANSWER_MAX];
    int tty = open("/dev/tty", O_RDWR | O_CLOEXEC);

    if (tty < 0)
        return err_set(detail, ERR_INVALID, "%s No terminal to ask on: say --yes", question);
    say(tty, question);
    say(tty, " [y/N] ");
    int n = line_read(tty, line, sizeof(line));
    close(tty);
    bool yes =
        n > 0 && (slice_ieq(slice_str(line), SLICE_LITERAL("y")) || slice_ieq(slice_str(line), SLICE_LITERAL("yes")));
    return yes ? 0 : err_set(detail, ERR_DENIED, "nothing is changed");
}
