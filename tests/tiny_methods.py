"""Every distillation method at a size that takes no time, and data for it."""

from helpers import NET, QUICK, made_up

from lmcnb import (
    DC,
    DM,
    DSA,
    IDC,
    MTT,
    Dataset,
    EarlyIDC,
    Herding,
    KCenter,
    Net,
    RandomReal,
    SoftLabels,
)

DATA = Dataset("made up", made_up(60, 3, seed=0), made_up(30, 3, seed=1))
THREE = NET.but(classes=3)
AP = Net(name="resnetap10", channels=1, size=64, classes=3, width=2)
IDC_TINY = IDC(ipc=2, factor=2, outer=3, inner=2, net_steps=3, real_batch=6, synthetic_batch=5, lr_image=1,
               recipe=QUICK.but(batch=8))
DM_TINY = DM(ipc=2, iterations=5, real_batch=6, checkpoint_every=2)
EARLY_TINY = EarlyIDC(**{**dict(IDC_TINY), "kind": "idc-early", "net_steps": 0}, pool=2, early_epochs=1)
DC_TINY = DC(ipc=2, iterations=3, outer=2, inner=2, real_batch=6)
DSA_TINY = DSA(ipc=2, iterations=3, outer=2, inner=2, real_batch=6)
MTT_TINY = MTT(ipc=2, iterations=5, steps=3, ahead=1, max_start=2, expert_count=2, checkpoint_every=2, lr_image=10,
               expert=QUICK.but(epochs=2, batch=8, momentum=0))
SOFT_TINY = SoftLabels(of=RandomReal(ipc=2), teacher=QUICK)
LEARNED = [IDC_TINY, EARLY_TINY, DC_TINY, DSA_TINY, DM_TINY, MTT_TINY]
KEPT = ("dc", "dsa", "dm", "mtt")  # learned in normalised pixels, and kept where they leave 0…1
CHOSEN = [RandomReal(ipc=2), Herding(ipc=2, recipe=QUICK), KCenter(ipc=2, recipe=QUICK)]
