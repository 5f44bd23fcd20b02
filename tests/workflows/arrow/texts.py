"""Texts in the arrow language that several tests use, and pieces that mutate them."""

from __future__ import annotations

SOURCES = [
    "A → B :x → C;\n:x → D",
    "A → { B → C\n D } → E",
    "A → ? `$[?(@.status=0)]` { B → C } → > D|E",
    "@flow demo (- max_rounds: 3 -) '''About it'''\n:a A → ? `input.n < 3` B → :a",
    '@task load = my:loader ({"retries": 2}) """Loads"""; @task both { load → B; C }\nload(- n: 1 -) → both',
    '<- [1, {a: \'x\'}] -> → * A({"k": ["})", {}]}) → > <http://a/b>(- method: PUT -)',
    "wait:delay(- duration: 60 -) → wait:event(- {event: go, match: input} -) # c\n→ wait:acquire(- name: 'a-{b}' -)",
    "A → :m; B → :m; :m → {{ C | D }} :o → > :end # end\n:o → F",
    '<{"a": 1}> → A; <[1]> → B; <> → C; <file.json> → D',
    "A(-\n  text: |\n    it's -> here\n  list: [&x {k: v}, *x]\n-) → B",
]
WORDS = r"""
→ -> > * ? | ; = { } ( ) < > () <> (- -) <- -> ({ }) ([ ]) <{ }> : :x :start :end @ @flow @task @note ` `$.a` ```
''' ' " # - -- A B: a-b é 1 → A ? `input.a` [ ] , a: &a *a !!x | yes null {} [] \ $ % ~ /
"""
TOKENS = [
    *WORDS.split(),
    '"""',
    " ",
    "\n",
    "\t",
    "\r\n",
    "\0",
    "\ud800",
    "\u2028",
    "\u00a0",
    "\ufeff",
    "\x7f",
    "# c\n",
    "- a: 1\n",
]
