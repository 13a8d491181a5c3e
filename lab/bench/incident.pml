/*
 * The race of October 2025, for the model checker Spin: what `fencepost bench explore` measures itself against.
 *
 * fencepost's own model, written after AWS's account (aws.amazon.com/message/101925), and not the one that Waqas Younas
 * published: that one has no licence to ship it under. Get his, and give it to `fencepost bench explore --promela FILE`.
 * This one is of the same size (a planner, two enactors, five plans, one endpoint), but has the aliases, and enactors
 * that each read the latest plan. docs/exploration.md says how the models differ.
 *
 * By hand:  spin -a incident.pml && gcc -O2 -o pan pan.c && ./pan -a -N no_dangling_root
 */

#define PLANS 5
#define KEEP 2 /* generations that the cleaner leaves */
#define ENACTORS 2

byte latest = 0;      /* the newest published plan; 0: none yet */
byte root = 0;        /* the plan whose tree is live; 0: none yet */
byte rollback = 0;    /* the plan that was live before; 0: none */
byte highest = 0;     /* the newest plan that ever was live */
bool tree[PLANS + 1]; /* which plans' records exist */
bool stuck = false;   /* a flip was refused, since what is live does not exist any more */

active proctype Planner() {
    do
    :: latest < PLANS -> latest = latest + 1
    :: latest == PLANS -> break
    od
}

active [ENACTORS] proctype Enactor() {
    byte plan = 0;
    byte candidate;

    do
    :: latest > plan ->
        plan = latest;
        if
        :: plan > root -> /* the one check for staleness: what follows can come at any later time */
            tree[plan] = true;
            atomic { /* the flip: one change batch, whole or not at all */
                if
                :: tree[plan] && (root == 0 || tree[root]) ->
                    rollback = root;
                    root = plan;
                    if
                    :: plan > highest -> highest = plan
                    :: else -> skip
                    fi
                :: tree[plan] && root != 0 && !tree[root] -> stuck = true /* rollback would dangle: refused */
                :: !tree[plan] -> skip /* cleaned away meanwhile: refused */
                fi
            }
            candidate = 1;
            do
            :: candidate + KEEP <= plan ->
                tree[candidate] = false; /* by age alone */
                candidate = candidate + 1
            :: candidate + KEEP > plan -> break
            od
        :: plan <= root -> skip
        fi
    :: plan == PLANS -> break
    od
}

/* I3 and, for a root that points to nothing answers nothing, I1. The first claim is the one that is checked by default. */
ltl no_dangling_root { [] (root == 0 || tree[root]) }

/* I2 */
ltl no_regression { [] (root == highest) }

/* I3, of the way back */
ltl no_dangling_rollback { [] (rollback == 0 || tree[rollback]) }

/* I5, as far as the outage goes: no flip is refused because of what is live. */
ltl never_stuck { [] !stuck }

/* I5: in the end the last plan is live. Every run of this model ends, so this needs no fairness. */
ltl convergence { <> [] (root == PLANS) }
