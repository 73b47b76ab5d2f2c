/*
 * The pair: two brokers A and B and one compare-and-swap register. Which message is acknowledged, and who may lead.
 *
 * One process, one step of the protocol or of the world per transition. Nothing is fair and nothing is timed: a step that may
 * happen may also never happen, so a lost message is one that no step delivers, and a stopped node one that no step moves.
 *
 * What is *not* a variable, and why that leaves nothing out:
 *   - Replication messages. A leadership's log only grows while it lasts, so whatever it ever sent is a prefix of
 *     sent[epoch]. Any of it may be delivered at any later time, again, or never, also after its sender's end.
 *   - Fsync answers, beacons, reads of the register: each only lets its receiver do what some step here does without it.
 *   - A node that is down: it is one that has restarted and does nothing.
 * A compare-and-swap in flight expects the register's present epoch; the ones that expect an older one can only fail, and
 * are forgotten when the register moves.
 *
 * A log is six bits: the numbers (1 to 3) of up to three operations, two bits each, the oldest lowest. A number is given
 * once, to one record of one epoch, so equal numbers mean equal (epoch, lsn, hash).
 *
 * Compile-time: OPS (1..3), EPOCHS (2..5), CRASHES (0..3), DISK_LOSSES (0..2, together on both nodes); one of MUTANT_M1 to
 * MUTANT_M10; one of REACH_1 to REACH_6; QUIET leaves out the text of a trail. run.py knows how to use them.
 */

#if OPS < 1 || OPS > 3 || EPOCHS < 2 || EPOCHS > 5 || CRASHES < 0 || CRASHES > 3 || DISK_LOSSES < 0 || DISK_LOSSES > 2
#error "a bound is out of range: see the top of pair.pml"
#endif

#ifdef QUIET
#define SAY(text)
#else
#define SAY(text) printf text
#endif

#define OTHER(n) (1 - (n))
#define NAME(n) ('A' + (n))

/* ------------------------------------------------------------------ logs */

#define MASK(len) ((1 << (2 * (len))) - 1)
#define RECORD(log, at) (((log) >> (2 * (at))) & 3)
#define LENGTH(log) ((((log) & 3) != 0) + (((log) & 12) != 0) + (((log) & 48) != 0))
#define FIRST(log, len) ((log) & MASK(len))
#define SAME_TO(a, b, len) (FIRST(a, len) == FIRST(b, len))
/* Length of the common beginning of two logs. */
#define COMMON_RAW(a, b) (SAME_TO(a, b, 1) + SAME_TO(a, b, 2) + SAME_TO(a, b, 3))
#define LEAST(a, b) ((a) < (b) -> (a) : (b))
#define COMMON(a, b) LEAST(COMMON_RAW(a, b), LEAST(LENGTH(a), LENGTH(b)))

/* ------------------------------------------------------------------ state */

#define IDLE 0      /* restarted, or stepped down: follows nobody yet */
#define FOLLOWER 1  /* its whole log is a prefix of what the leadership `promised` sent */
#define CANDIDATE 2 /* asked for epoch `epoch`, does not know the outcome */
#define LEADER 3    /* knows that it was granted `epoch` in this life */

/* Kinds of compare-and-swap; in `flying` they are a set. */
#define PROMOTE 1
#define SHRINK 2
#define ADD 4

typedef Node {
  /* The disk. */
  unsigned log : 6;
  unsigned synced : 2;   /* the first `synced` records survive a crash */
  unsigned promised : 3; /* R2 */
  unsigned disk : 2;     /* incarnation: 0 is the disk of the beginning */
  /* Memory. */
  unsigned role : 2;
  unsigned epoch : 3;     /* of CANDIDATE and LEADER, else 0 */
  unsigned need : 1;      /* LEADER: the other's copy is needed as well (R1) */
  unsigned need_disk : 2; /* on which disk */
  unsigned won : 3;       /* the kind of its compare-and-swap that was applied; the answer is on its way */
  /* The network: what this node has sent and is not forgotten. */
  unsigned flying : 3;   /* compare-and-swaps, of this life or a former one, that may still land */
  unsigned add_disk : 2; /* the disk that a flying ADD names */
  unsigned acks : 9;     /* per disk of this node three bits: 0 none, else 1 + the lsn that it acknowledged as durable to
                            the leadership that the other holds now. Once sent an ack may arrive late, so it stays. */
};
Node node[2];

#define LOG(n) node[n].log
#define SYNCED(n) node[n].synced
#define PROMISED(n) node[n].promised
#define DISK(n) node[n].disk
#define ROLE(n) node[n].role
#define EPOCH(n) node[n].epoch
#define NEED(n) node[n].need
#define NEED_DISK(n) node[n].need_disk
#define WON(n) node[n].won
#define FLYING(n) node[n].flying
#define ADD_DISK(n) node[n].add_disk
#define ACK(n, disk) ((node[n].acks >> (3 * (disk))) & 7)
#define MOST(a, b) ((a) > (b) -> (a) : (b))
#define ACK_OF_NAME(n) MOST(ACK(n, 0), MOST(ACK(n, 1), ACK(n, 2)))
#define SET_ACK(n, disk, value) node[n].acks = (node[n].acks & ~(7 << (3 * (disk)))) | ((value) << (3 * (disk)))

/* The register: one value, changed only by a compare-and-swap that expects its epoch and raises it by one. */
unsigned reg_epoch : 3 = 1;
unsigned reg_leader : 1 = 0;
unsigned in_set : 2 = 3;  /* bit n: node n is in the in-sync set */
unsigned set_disk : 4 = 0; /* two bits for each node in the set: its incarnation */
unsigned given : 2 = 0;   /* operations that clients have sent so far */
unsigned crashes : 2 = 0;
unsigned losses : 2 = 0;
unsigned acked : 6 = 0;   /* the history that clients were told is safe: a log */
unsigned led : 14 = 1;    /* two bits for each epoch: 0 nobody led it yet, else 1 + the node that did */
byte sent[EPOCHS];        /* what the leadership of epoch i + 1 has ever sent: a log */

#define IN_SET(n) ((in_set >> (n)) & 1)
#define SET_DISK(n) ((set_disk >> (2 * (n))) & 3)
#define PUT_SET_DISK(n, disk) set_disk = (set_disk & ~(3 << (2 * (n)))) | ((disk) << (2 * (n)))
#define SENT(epoch) sent[(epoch) - 1]
#define LED(epoch) ((led >> (2 * ((epoch) - 1))) & 3)

#ifdef REACH_5
byte ackers = 0;
#endif
#ifdef REACH_6
byte old_asks = 0;
#endif

#ifdef QUIET
hidden byte cut, kept, before, at; /* used within a step only; 0 between steps */
#else
byte cut, kept, before, at; /* breadth-first search knows nothing hidden */
#endif

/* ------------------------------------------------------------------ what must hold */

/* R4's condition, by the rule itself, whatever a mutant does. */
#define ELIGIBLE(n) (IN_SET(n) && SET_DISK(n) == DISK(n))
#define HOLDS_ACKED(n) (FIRST(FIRST(LOG(n), SYNCED(n)), LENGTH(acked)) == acked)

#define MUST(condition, words)                     \
  if                                               \
  :: !(condition) -> SAY(("violated: ")); SAY((words)); SAY(("\n")); assert(false) \
  :: else                                          \
  fi

#define REACHED(words) SAY(("reached: ")); SAY((words)); SAY(("\n")); assert(false)

/* One line for each broker and one for the register, below each step of a trail. */
inline tell_log(records) {
  printf("[");
  if
  :: RECORD(records, 0) -> printf("%d", RECORD(records, 0))
  :: else
  fi;
  if
  :: RECORD(records, 1) -> printf(" %d", RECORD(records, 1))
  :: else
  fi;
  if
  :: RECORD(records, 2) -> printf(" %d", RECORD(records, 2))
  :: else
  fi;
  printf("]")
}

inline tell() {
#ifdef QUIET
  skip
#else
  at = 0;
  do
  :: at < 2 ->
    printf("        %c ", 65 + at);
    if
    :: ROLE(at) == IDLE -> printf("is idle; ")
    :: ROLE(at) == FOLLOWER -> printf("follows in epoch %d; ", PROMISED(at))
    :: ROLE(at) == CANDIDATE -> printf("waits for epoch %d; ", EPOCH(at))
    :: ROLE(at) == LEADER && NEED(at) -> printf("leads epoch %d with %c; ", EPOCH(at), 65 + OTHER(at))
    :: ROLE(at) == LEADER && !NEED(at) -> printf("leads epoch %d alone; ", EPOCH(at))
    fi;
    printf("promised %d, disk %d, log ", PROMISED(at), DISK(at));
    tell_log(LOG(at));
    printf(" durable to lsn %d\n", SYNCED(at));
    at++
  :: else -> break
  od;
  printf("        register: epoch %d, leader %c, in sync", reg_epoch, 65 + reg_leader);
  if
  :: IN_SET(0) -> printf(" A(disk %d)", SET_DISK(0))
  :: else
  fi;
  if
  :: IN_SET(1) -> printf(" B(disk %d)", SET_DISK(1))
  :: else
  fi;
  printf("; acknowledged ");
  tell_log(acked);
  printf("\n")
#endif
}

/* What no later step can use is forgotten, which merges states. */
inline forget() {
#ifndef MUTANT_M6 /* there a leadership goes on after a restart, and what was sent to it is still of use */
  if
  :: ROLE(0) != LEADER -> node[1].acks = 0
  :: else
  fi;
  if
  :: ROLE(1) != LEADER -> node[0].acks = 0
  :: else
  fi;
#endif
#ifndef MUTANT_M9 /* there a node goes back behind its promise */
  if
  :: losses == DISK_LOSSES -> /* an epoch below the receiver's promise is refused from now on; a new disk would promise afresh */
    at = 1;
    do
    :: at <= EPOCHS ->
      if
      :: LED(at) != 0 && PROMISED(2 - LED(at)) > at -> SENT(at) = 0
      :: else
      fi;
      at++
    :: else -> break
    od
  :: else
  fi;
#endif
  at = 0;
  cut = 0;
  kept = 0;
  before = 0
}

/* After every step: I1, I2 and epochs that fit together. */
inline done() {
  tell();
  MUST(!ELIGIBLE(0) || HOLDS_ACKED(0), "I2: A may lead and does not hold the acknowledged history durably");
  MUST(!ELIGIBLE(1) || HOLDS_ACKED(1), "I2: B may lead and does not hold the acknowledged history durably");
  MUST(!(ROLE(0) == LEADER && ROLE(1) == LEADER && EPOCH(0) == EPOCH(1)), "I1: two leaders in one epoch");
  MUST(PROMISED(0) <= reg_epoch + 1 && PROMISED(1) <= reg_epoch + 1, "R2: a promise beyond the next epoch");
  MUST(!(ROLE(0) == LEADER && EPOCH(0) > reg_epoch) && !(ROLE(1) == LEADER && EPOCH(1) > reg_epoch),
       "I1: a leader of an epoch that the register has not given");
  forget()
}

inline reset_memory(n) {
  ROLE(n) = IDLE;
  EPOCH(n) = 0;
  NEED(n) = 0;
  NEED_DISK(n) = 0;
  WON(n) = 0
}

/* ------------------------------------------------------------------ R1: append, replicate, commit */

/* A client's operation reaches a node that takes itself for the leader. */
inline append(n) {
  d_step {
    ROLE(n) == LEADER && given < OPS ->
    given++;
    SAY(("%c appends operation %d in epoch %d\n", 65 + n, given, EPOCH(n)));
    LOG(n) = LOG(n) | (given << (2 * LENGTH(LOG(n))));
    SENT(EPOCH(n)) = LOG(n);
    done()
  }
}

#ifdef MUTANT_M6 /* the leader may be down, and resume */
#define HEARS(n, e) ((ROLE(n) == LEADER && EPOCH(n) == (e)) || ROLE(n) == IDLE)
#else
#define HEARS(n, e) (ROLE(n) == LEADER && EPOCH(n) == (e))
#endif

/* A follower's ack leaves after its fsync. An ack of an epoch that its leader has left is refused there: not kept. */
inline acknowledge(n, lsn) {
  if
  :: HEARS(OTHER(n), PROMISED(n)) && ACK(n, DISK(n)) < 1 + (lsn) -> SET_ACK(n, DISK(n), 1 + (lsn))
  :: else
  fi
}

inline fsync(n) {
  d_step {
    SYNCED(n) < LENGTH(LOG(n)) ->
    SYNCED(n) = LENGTH(LOG(n));
    SAY(("%c has synced its log to lsn %d\n", 65 + n, SYNCED(n)));
    if
    :: ROLE(n) == FOLLOWER -> acknowledge(n, SYNCED(n))
    :: else
    fi;
    done()
  }
}

/* ------------------------------------------------------------------ R2, R6: following */

#ifdef MUTANT_M2 /* nothing is promised, so only the memory of a leadership refuses an older one */
#define REFUSES(n, e) (PROMISED(n) > (e) || (ROLE(n) == LEADER && EPOCH(n) >= (e)))
#else
#define REFUSES(n, e) (PROMISED(n) > (e))
#endif

#define IN_SESSION(n, e) (ROLE(n) == FOLLOWER && PROMISED(n) == (e))

/* R6, the follower's half: what the leadership does not hold is cut (into quarantine), down to the last common record. */
inline rejoin(n, e) {
  d_step {
    LED(e) == 1 + OTHER(n) && !REFUSES(n, e) && !IN_SESSION(n, e) ->
    cut = COMMON(LOG(n), SENT(e));
    before = LENGTH(LOG(n));
    kept = COMMON(LOG(n), acked);
    SAY(("%c hears of epoch %d, promises it and follows; of its %d records %d are common\n", 65 + n, e, before, cut));
    MUST(!ELIGIBLE(n) || kept <= cut, "I5: an acknowledged record is cut on a node that may lead");
#ifdef REACH_2
    if
    :: cut < before -> REACHED("a rejoin with truncation")
    :: else
    fi;
#endif
    LOG(n) = FIRST(LOG(n), cut);
    if
    :: SYNCED(n) > cut -> SYNCED(n) = cut
    :: else
    fi;
    reset_memory(n);
    PROMISED(n) = e;
    ROLE(n) = FOLLOWER;
    acknowledge(n, SYNCED(n));
    done()
  }
}

inline replicate(n, e) {
  d_step {
    LED(e) == 1 + OTHER(n) && IN_SESSION(n, e) && LENGTH(LOG(n)) < LENGTH(SENT(e)) ->
    LOG(n) = FIRST(SENT(e), LENGTH(LOG(n)) + 1);
    SAY(("%c receives lsn %d of epoch %d\n", 65 + n, LENGTH(LOG(n)), e));
#ifdef MUTANT_M7
    acknowledge(n, LENGTH(LOG(n)));
#endif
    done()
  }
}

/* ------------------------------------------------------------------ R1: commit */

#if defined(MUTANT_M4) || defined(MUTANT_M10)
#define MATCH(n, disk) ACK_OF_NAME(n)
#else
#define MATCH(n, disk) ACK(n, disk)
#endif

/* The lsn to which node n may acknowledge, to the best of its own knowledge. */
#define MATCHED(n, disk) (MATCH(n, disk) == 0 -> 0 : MATCH(n, disk) - 1)
#define COMMIT(n) (!NEED(n) -> SYNCED(n) : LEAST(SYNCED(n), MATCHED(OTHER(n), NEED_DISK(n))))

inline commit(n) {
  d_step {
    ROLE(n) == LEADER && COMMIT(n) > 0 && FIRST(LOG(n), COMMIT(n)) != FIRST(acked, COMMIT(n)) ->
    cut = COMMIT(n);
    SAY(("%c acknowledges to its clients up to lsn %d in epoch %d\n", 65 + n, cut, EPOCH(n)));
    MUST(cut > LENGTH(acked) && FIRST(LOG(n), LENGTH(acked)) == acked, "I4: two histories are acknowledged");
    acked = FIRST(LOG(n), cut);
#ifdef REACH_5
    ackers = ackers | (1 << (2 * EPOCH(n) + n));
    if
    :: ackers & (ackers - 1) -> REACHED("two leaderships that both acknowledged")
    :: else
    fi;
#endif
    done()
  }
}

/* ------------------------------------------------------------------ R3, R4, R6: asking the register */

/* R3. Waiting acks stay waiting: `need` changes only when the outcome is known. */
inline ask_shrink(n) {
  d_step {
    ROLE(n) == LEADER && NEED(n) && EPOCH(n) == reg_epoch && reg_epoch < EPOCHS && !(FLYING(n) & SHRINK) ->
    SAY(("%c asks to continue alone: epoch %d -> %d\n", 65 + n, EPOCH(n), EPOCH(n) + 1));
    FLYING(n) = FLYING(n) | SHRINK;
#ifdef MUTANT_M1
    NEED(n) = 0;
    NEED_DISK(n) = 0;
#endif
    done()
  }
}

#ifdef MUTANT_M8
#define CAUGHT_UP(n, disk) (ACK(n, disk) != 0)
#else
#define CAUGHT_UP(n, disk) (ACK(n, disk) != 0 && MATCH(n, disk) == 1 + LENGTH(LOG(OTHER(n))))
#endif

/* R6, the leader's half: the union rule first, then the register. */
inline ask_add(n, which) {
  d_step {
    ROLE(n) == LEADER && !NEED(n) && EPOCH(n) == reg_epoch && reg_epoch < EPOCHS && !(FLYING(n) & ADD) &&
      CAUGHT_UP(OTHER(n), which) ->
    SAY(("%c asks to add %c with its disk %d: epoch %d -> %d\n", 65 + n, 65 + OTHER(n), which, EPOCH(n), EPOCH(n) + 1));
#ifndef MUTANT_M3
    NEED(n) = 1;
#endif
    NEED_DISK(n) = which;
    FLYING(n) = FLYING(n) | ADD;
    ADD_DISK(n) = which;
    done()
  }
}

#ifdef MUTANT_M4
#define MAY_LEAD(n) (IN_SET(n) == 1)
#else
#ifdef MUTANT_M5
#define MAY_LEAD(n) true
#else
#define MAY_LEAD(n) ELIGIBLE(n)
#endif
#endif

/* R4, R5. The in-sync set that it reads is the one it will have to wait for: the register changes it only with the epoch. */
inline ask_promote(n) {
  d_step {
    (ROLE(n) == IDLE || ROLE(n) == FOLLOWER) && reg_epoch < EPOCHS && MAY_LEAD(n) ->
    reset_memory(n);
    ROLE(n) = CANDIDATE;
    EPOCH(n) = reg_epoch + 1;
    NEED(n) = IN_SET(OTHER(n));
    if
    :: NEED(n) -> NEED_DISK(n) = SET_DISK(OTHER(n))
    :: else
    fi;
    FLYING(n) = FLYING(n) | PROMOTE;
#ifdef MUTANT_M2
    SAY(("%c promises nothing and asks to lead epoch %d\n", 65 + n, EPOCH(n)));
#else
    PROMISED(n) = EPOCH(n);
    SAY(("%c promises epoch %d and asks to lead it\n", 65 + n, EPOCH(n)));
#endif
    done()
  }
}

/* The register applies a compare-and-swap, whether or not its sender still lives, waits, or ever hears of it. */
inline land(n, kind) {
  d_step {
    (FLYING(n) & kind) && reg_epoch < EPOCHS ->
    SAY(("the register applies what %c asked for: epoch %d -> %d\n", 65 + n, reg_epoch, reg_epoch + 1));
    if
    :: (kind == PROMOTE && ROLE(n) == CANDIDATE && EPOCH(n) == reg_epoch + 1) ||
         (kind != PROMOTE && ROLE(n) == LEADER && EPOCH(n) == reg_epoch) -> WON(n) = kind
    :: else ->
#ifdef REACH_3
      REACHED("a compare-and-swap of unknown outcome that lands after its sender's end")
#else
      skip
#endif
    fi;
    reg_leader = n;
    if
    :: kind == SHRINK ->
      if
      :: !IN_SET(n) -> PUT_SET_DISK(n, DISK(n)) /* only where promotion does not look at the set */
      :: else
      fi;
      in_set = 1 << n;
      PUT_SET_DISK(OTHER(n), 0)
    :: kind == ADD ->
      in_set = 3;
      PUT_SET_DISK(OTHER(n), ADD_DISK(n))
    :: else
    fi;
    reg_epoch++;
    FLYING(0) = 0;
    FLYING(1) = 0;
    ADD_DISK(0) = 0;
    ADD_DISK(1) = 0;
    done()
  }
}

/* A leadership begins: of a candidate, or the next epoch of a leader. */
#define LEAD(n, e)                                                                                                      \
  at = e;                                                                                                                \
  MUST(LED(at) == 0 || LED(at) == 1 + n, "I1: two nodes led one epoch");                                                 \
  MUST(reg_epoch != at || FIRST(LOG(n), LENGTH(acked)) == acked, "I3: a leader begins without the acknowledged history"); \
  led = led | ((1 + n) << (2 * (at - 1)));                                                                               \
  SENT(at) = LOG(n);                                                                                                     \
  ROLE(n) = LEADER;                                                                                                      \
  EPOCH(n) = at

/* The sender learns that it won: by the answer, however late, or by reading the register again. */
inline learn(n) {
  d_step {
    WON(n) != 0 ->
    if
    :: WON(n) == PROMOTE ->
      SAY(("%c learns that it leads epoch %d\n", 65 + n, EPOCH(n)));
#ifdef REACH_1
      if
      :: crashes > 0 -> REACHED("a promotion after a crash")
      :: else
      fi;
#endif
#ifdef REACH_6
      if
      :: reg_epoch > EPOCH(n) -> REACHED("a leadership that begins after it is over")
      :: else
      fi;
#endif
      node[OTHER(n)].acks = 0;
      LEAD(n, EPOCH(n))
    :: else ->
      if
      :: WON(n) == SHRINK ->
        SAY(("%c learns that it leads epoch %d alone\n", 65 + n, EPOCH(n) + 1));
        NEED(n) = 0;
        NEED_DISK(n) = 0
      :: else -> /* ADD */
        SAY(("%c learns that it leads epoch %d with %c in sync\n", 65 + n, EPOCH(n) + 1, 65 + OTHER(n)));
#ifdef REACH_4
        if
        :: NEED_DISK(n) > 0 -> REACHED("an add after a disk loss")
        :: else
        fi;
#endif
        NEED(n) = 1
      fi;
#ifndef MUTANT_M2
      PROMISED(n) = EPOCH(n) + 1;
#endif
      LEAD(n, EPOCH(n) + 1)
    fi;
    WON(n) = 0;
    done()
  }
}

/* A read of the register shows that its epoch is over, or a candidate no longer waits: what it asked for may still land. */
inline step_down(n) {
  d_step {
    ROLE(n) == CANDIDATE || (ROLE(n) == LEADER && reg_epoch > EPOCH(n) && !(reg_epoch == EPOCH(n) + 1 && reg_leader == n)) ->
    SAY(("%c no longer leads nor waits to lead epoch %d\n", 65 + n, EPOCH(n)));
    reset_memory(n);
    done()
  }
}

/* ------------------------------------------------------------------ the world: crashes and lost disks */

/* A crash and the restart after it (R5: the restarted node is nobody). Of the unsynced records the first `more` survive. */
inline crash(n, more) {
  d_step {
    crashes < CRASHES && SYNCED(n) + more <= LENGTH(LOG(n)) ->
    crashes++;
    SAY(("%c crashes and restarts with %d unsynced records of %d\n", 65 + n, more, LENGTH(LOG(n)) - SYNCED(n)));
    SYNCED(n) = SYNCED(n) + more;
    LOG(n) = FIRST(LOG(n), SYNCED(n));
#ifdef MUTANT_M9
    PROMISED(n) = 0;
#endif
    reset_memory(n);
    done()
  }
}

/* The whole disk is lost, and the node starts with an empty one. */
inline lose_disk(n) {
  d_step {
    losses < DISK_LOSSES ->
    losses++;
    SAY(("%c loses its disk and restarts with an empty one\n", 65 + n));
    DISK(n) = DISK(n) + 1;
    LOG(n) = 0;
    SYNCED(n) = 0;
    PROMISED(n) = 0;
    reset_memory(n);
    done()
  }
}

#ifdef MUTANT_M6
inline resume(n) {
  d_step {
    ROLE(n) == IDLE && ELIGIBLE(n) && reg_leader == n && PROMISED(n) == reg_epoch ->
    SAY(("%c resumes epoch %d\n", 65 + n, reg_epoch));
    NEED(n) = IN_SET(OTHER(n));
    if
    :: NEED(n) -> NEED_DISK(n) = SET_DISK(OTHER(n))
    :: else
    fi;
    LEAD(n, reg_epoch);
    done()
  }
}
#endif

/* ------------------------------------------------------------------ everything that may happen */

/* Twice the same list, for A and for B: with constants in place of variables the verifier is several times faster. */
#define STEPS(n)        \
  :: append(n)          \
  :: fsync(n)           \
  :: rejoin(n, 1)       \
  :: rejoin(n, 2)       \
  STEPS_EPOCH_3(n)      \
  STEPS_EPOCH_4(n)      \
  STEPS_EPOCH_5(n)      \
  :: replicate(n, 1)    \
  :: replicate(n, 2)    \
  :: commit(n)          \
  :: ask_shrink(n)      \
  :: ask_add(n, 0)      \
  STEPS_DISK_1(n)       \
  STEPS_DISK_2(n)       \
  :: ask_promote(n)     \
  :: land(n, PROMOTE)   \
  :: land(n, SHRINK)    \
  :: land(n, ADD)       \
  :: learn(n)           \
  :: step_down(n)       \
  STEPS_CRASH(n)        \
  STEPS_RESUME(n)

#if EPOCHS > 2
#define STEPS_EPOCH_3(n) :: rejoin(n, 3) :: replicate(n, 3)
#else
#define STEPS_EPOCH_3(n)
#endif
#if EPOCHS > 3
#define STEPS_EPOCH_4(n) :: rejoin(n, 4) :: replicate(n, 4)
#else
#define STEPS_EPOCH_4(n)
#endif
#if EPOCHS > 4
#define STEPS_EPOCH_5(n) :: rejoin(n, 5) :: replicate(n, 5)
#else
#define STEPS_EPOCH_5(n)
#endif
#if DISK_LOSSES > 0
#define STEPS_DISK_1(n) :: ask_add(n, 1) :: lose_disk(n)
#else
#define STEPS_DISK_1(n)
#endif
#if DISK_LOSSES > 1
#define STEPS_DISK_2(n) :: ask_add(n, 2)
#else
#define STEPS_DISK_2(n)
#endif
#if CRASHES == 0
#define STEPS_CRASH(n)
#elif OPS == 1
#define STEPS_CRASH(n) :: crash(n, 0) :: crash(n, 1)
#elif OPS == 2
#define STEPS_CRASH(n) :: crash(n, 0) :: crash(n, 1) :: crash(n, 2)
#else
#define STEPS_CRASH(n) :: crash(n, 0) :: crash(n, 1) :: crash(n, 2) :: crash(n, 3)
#endif
#ifdef MUTANT_M6
#define STEPS_RESUME(n) :: resume(n)
#else
#define STEPS_RESUME(n)
#endif

/* The beginning: both nodes empty and in sync, A leads epoch 1, B has not heard of it. */
init {
  d_step {
    PROMISED(0) = 1;
    ROLE(0) = LEADER;
    EPOCH(0) = 1;
    NEED(0) = 1
  }
end_all_bounds_used_up:
  do
  STEPS(0)
  STEPS(1)
  od
}
