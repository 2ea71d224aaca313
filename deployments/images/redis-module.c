/*
 * A stand-in for one of the modules that the public redis:8 image brings. It is loaded under
 * the original's name, and has some of the original's commands, with their ACL categories; each
 * of them only says OK. What Berth does with modules can be tested with it, what users do not.
 *
 *   cc -shared -fPIC -nostdlib -DNAME='"search"' -o redisearch.so redis-module.c
 *
 * It uses nothing of the C library, so that it fits any image of this architecture. A module is
 * given its server's functions by name; redismodule.h, which usually does that, is not needed.
 */
typedef struct Ctx Ctx;
typedef struct Command Command;
typedef struct String String;
typedef int (*Handler)(Ctx *, String **, int);

enum { OK = 0, FAILED = 1, API_VERSION = 1, VERSION = 80000 };

static const struct { const char *module, *command, *flags, *categories; } commands[] = {
    {"bf", "BF.ADD", "write", "write bloom"},
    {"bf", "BF.EXISTS", "readonly", "read bloom"},
    {"search", "FT.CREATE", "write", "write search"},
    {"search", "FT.SEARCH", "readonly", "read search"},
    {"search", "FT._LIST", "readonly", "admin search"},
    {"search", "FT.CONFIG", "readonly", "admin search"},
    {"search", "_FT.DEBUG", "readonly", "admin dangerous search"},
    {"timeseries", "TS.ADD", "write", "write timeseries"},
    {"timeseries", "TS.GET", "readonly", "read timeseries"},
    {"ReJSON", "JSON.SET", "write", "write json"},
    {"ReJSON", "JSON.GET", "readonly", "read json"},
};

static int (*reply)(Ctx *, const char *);

static int say_ok(Ctx *ctx, String **argv, int argc) {
    (void)argv;
    (void)argc;
    return reply(ctx, "OK");
}

static int same(const char *a, const char *b) {
    for (; *a && *a == *b; a++, b++) {}
    return *a == *b;
}

/* The module's own category is the last word of a command's categories. */
static const char *last_word(const char *text) {
    const char *word = text;
    for (; *text; text++)
        if (*text == ' ') word = text + 1;
    return word;
}

int RedisModule_OnLoad(Ctx *ctx, String **argv, int argc) {
    int (*get)(const char *, void *) = (int (*)(const char *, void *))(((void **)ctx)[0]);
    void (*attributes)(Ctx *, const char *, int, int) = 0;
    int (*create)(Ctx *, const char *, Handler, const char *, int, int, int) = 0;
    int (*add_category)(Ctx *, const char *) = 0;
    Command *(*find)(Ctx *, const char *) = 0;
    int (*set_categories)(Command *, const char *) = 0;
    int added = 0;
    (void)argv;
    (void)argc;

    get("RedisModule_SetModuleAttribs", (void *)&attributes);
    get("RedisModule_ReplyWithSimpleString", (void *)&reply);
    get("RedisModule_CreateCommand", (void *)&create);
    get("RedisModule_AddACLCategory", (void *)&add_category);
    get("RedisModule_GetCommand", (void *)&find);
    get("RedisModule_SetCommandACLCategories", (void *)&set_categories);
    if (!attributes || !reply || !create || !add_category || !find || !set_categories) return FAILED;

    attributes(ctx, NAME, VERSION, API_VERSION);
    for (unsigned i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (!same(commands[i].module, NAME)) continue;
        if (!added && add_category(ctx, last_word(commands[i].categories)) != OK) return FAILED;
        added = 1;
        if (create(ctx, commands[i].command, say_ok, commands[i].flags, 0, 0, 0) != OK) return FAILED;
        if (set_categories(find(ctx, commands[i].command), commands[i].categories) != OK) return FAILED;
    }
    return OK;
}
