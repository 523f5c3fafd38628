"""Headers after the published habits of each vendor and of well-known collections, most without any other hint.

One header a line: description, manufacturer, name of the pulse sequence (where that vendor keeps it), ScanningSequence,
SequenceVariant, ScanOptions, 2D or 3D, TR, TE, TI and flip angle (ms, degrees), other attributes, label. ``-`` is
absent; a label of ``-`` is silence, and ``T2?`` means T2 or silence: the header leaves room for doubt.
"""

import pytest

from core.labels import sequence_from_header, sequence_from_text

MAKERS = {"S": "SIEMENS", "G": "GE MEDICAL SYSTEMS", "P": "Philips Medical Systems", "T": "TOSHIBA", "C": "CANON_MEC",
          "H": "Hitachi Medical Corporation", "U": "UIH", "B": "Bruker BioSpin MRI GmbH", "X": "Siemens Healthineers",
          "Y": "SyntheticMR"}  # fmt: skip
NAMES = {"S": "SequenceName", "G": "GEPulseSequence", "P": "PhilipsPulseSequence", "T": "SequenceName",
         "C": "SequenceName", "H": "SequenceName", "U": "UIHPulseSequence", "B": "PulseSequenceName",
         "X": "PulseSequenceName", "Y": "SequenceName"}  # fmt: skip
COLUMNS = ("ScanningSequence", "SequenceVariant", "ScanOptions", "MRAcquisitionType")
TIMES = ("RepetitionTime", "EchoTime", "InversionTime", "FlipAngle")

CLASSIC = """
# Siemens classic
t1_se_tra                     | S | *se2d1         | SE    | -        | -     | 2D | 450  | 12  | -    | 90  | -                | T1
t1_se_tra_KM                  | S | *se2d1         | SE    | SK       | SAT1  | 2D | 550  | 14  | -    | 90  | -                | T1CE
t1_tse_cor_fs post            | S | *tse2d1_3      | SE    | SK\\SP   | FS    | 2D | 600  | 11  | -    | 150 | -                | T1CE
t1_mprage_sag_p2_iso          | S | *tfl3d1_16ns   | GR\\IR| SK\\SP\\MP| IR   | 3D | 1900 | 2.5 | 900  | 9   | -                | T1
t1_mprage_sag_p2_iso_KM       | S | *tfl3d1_16ns   | GR\\IR| SK\\SP\\MP| IR   | 3D | 1900 | 2.5 | 900  | 9   | -                | T1CE
MPRAGE nach KM                | S | *tfl3d1        | GR\\IR| SK\\SP\\MP| IR   | 3D | 2200 | 3.2 | 1100 | 8   | -                | T1CE
MPRAGE vor KM                 | S | *tfl3d1        | GR\\IR| SK\\SP\\MP| IR   | 3D | 2200 | 3.2 | 1100 | 8   | -                | T1
-                             | S | *tfl3d1_ns     | GR\\IR| SK\\SP\\MP| IR   | 3D | 2400 | 3.5 | 1000 | 8   | -                | T1
t1_space_sag_Gd               | S | *spc3d1_42     | SE    | SK\\SP   | FS    | 3D | 700  | 11  | -    | 120 | -                | T1CE
t1_vibe_dixon_tra_W +C        | S | *fl3d2         | GR    | SP       | -     | 3D | 6.8  | 2.4 | -    | 12  | -                | T1CE
t1_tirm_tra_dark-fluid        | S | *tir2d1_9      | SE\\IR| SK\\SP\\MP| IR   | 2D | 2000 | 9   | 860  | 150 | -                | T1
t2_tse_tra_512                | S | *tse2d1_15     | SE    | SK\\SP   | -     | 2D | 4500 | 98  | -    | 150 | -                | T2
-                             | S | *tseB2d1_35    | SE    | SK       | -     | 2D | 4000 | 117 | -    | 130 | -                | T2
t2_space_sag_p2_iso           | S | *spc3d1_282    | SE    | SK\\SP   | -     | 3D | 3200 | 408 | -    | 120 | -                | T2
t2_haste_cor                  | S | *h2d1_204      | SE    | SK\\SP   | PFP   | 2D | 1200 | 92  | -    | 150 | EchoTrainLength=204 | T2
t2_tirm_tra_dark-fluid        | S | *tir2d1_21     | SE\\IR| SK\\SP\\MP| IR\\FS| 2D | 9000 | 93  | 2500 | 150 | -               | FLAIR
t2_space_dark-fluid_sag_p2    | S | *spcir_242ns   | SE\\IR| SK\\SP\\MP| IR   | 3D | 5000 | 389 | 1800 | 120 | -                | FLAIR
-                             | S | *spcir_278ns   | SE\\IR| SK\\SP\\MP| IR   | 3D | 6000 | 402 | 2100 | 120 | -                | FLAIR
-                             | S | *tirB2d1_17    | SE\\IR| SK\\MP   | IR    | 2D | 8000 | 120 | 2370 | 150 | -                | FLAIR
AX FLAIR                      | S | *tir2d1_16     | SE\\IR| SK       | IR    | 2D | 9000 | 105 | -    | 150 | -                | FLAIR
T2 stealth                    | S | *tse2d1_11     | SE    | SK       | -     | 2D | 5000 | 101 | -    | 150 | -                | T2
# Siemens XA, names in PulseSequenceName
MPRAGE_GD                     | X | *tfl3d1_16ns   | -     | -        | -     | 3D | 2300 | 2.9 | 900  | 8   | EchoPulseSequence=GRADIENT | T1CE
-                             | X | *tfl3d1_16ns   | -     | -        | -     | 3D | 2300 | 2.9 | 900  | 8   | AcquisitionContrast=UNKNOWN | T1
-                             | X | *spcR_282ns    | -     | -        | -     | 3D | 3200 | 409 | -    | 120 | EchoPulseSequence=SPIN | T2
-                             | X | *spcir_278ns   | -     | -        | -     | 3D | 5000 | 386 | 1800 | 120 | InversionRecovery=YES | FLAIR
-                             | X | *tse2d1_18     | -     | -        | -     | 2D | 5500 | 100 | -    | 150 | EchoPulseSequence=SPIN | T2
# GE
Ax T1 SE                      | G | memp           | SE    | NONE     | -     | 2D | 500  | 10  | -    | 90  | -                | T1
AX T1 POST GD                 | G | memp           | SE    | NONE     | -     | 2D | 467  | 14  | -    | 90  | -                | T1CE
AX T1 POST GD FLAIR           | G | fse-xl         | SE\\IR| SK       | IR_GEMS| 2D | 2500 | 9   | 860  | 90  | -               | T1CE
SAG T1 FLAIR                  | G | t1flair        | RM    | NONE     | IR_GEMS| 2D | 2350 | 24  | 750  | 111 | -               | T1
SAG FLAIR                     | G | fse-xl         | SE\\IR| SK       | IR_GEMS| 2D | 2117 | 9   | 838  | 90  | -               | T1
Sag T1 Cube +C                | G | Cube           | SE    | SK       | -     | 3D | 600  | 17  | -    | 90  | -                | T1CE
AX 3D BRAVO                   | G | BRAVO          | GR    | SS\\SP\\SK| -    | 3D | 8.2  | 3.2 | 450  | 12  | -                | T1
Ax BRAVO +C                   | G | BRAVO          | GR    | SS\\SP\\SK| -    | 3D | 8.2  | 3.2 | 450  | 12  | -                | T1CE
Accelerated Sag IR-FSPGR      | G | efgre3d        | GR    | SS\\SP   | FAST_GEMS| 3D | 7.3 | 3   | 400  | 11  | -              | T1
STEALTH AX 3D SPGR            | G | efgre3d        | GR    | SS\\SP   | -     | 3D | 8.4  | 3.3 | -    | 20  | ContrastBolusAgent=MAGNEVIST | T1
STEALTH POST GD               | G | efgre3d        | GR    | SS\\SP   | -     | 3D | 8.4  | 3.3 | -    | 20  | -                | T1CE
AX T2 FRFSE                   | G | frfse-xl       | SE    | SK       | -     | 2D | 4200 | 102 | -    | 90  | -                | T2
-                             | G | fse-xl         | SE    | SK       | FAST_GEMS| 2D | 3000 | 90 | -   | 90  | -                | T2
Ax T2 PROPELLER               | G | propeller      | RM    | SK       | -     | 2D | 5200 | 110 | -    | 142 | -                | T2
Sag T2 CUBE                   | G | Cube           | SE    | SK       | -     | 3D | 2500 | 95  | -    | 90  | -                | T2
AX T2 FLAIR                   | G | t2flair        | SE\\IR| SK       | IR_GEMS| 2D | 9002 | 133 | 2200 | 90  | -               | FLAIR
AX FLAIR                      | G | -              | RM    | NONE     | -     | 2D | 10002| 140 | 2200 | 90  | -                | FLAIR
Sag CUBE FLAIR                | G | Cube           | SE\\IR| SK       | -     | 3D | 6000 | 118 | 1850 | 90  | -                | FLAIR
-                             | G | Cube           | SE\\IR| SK       | -     | 3D | 6002 | 130 | 1700 | 90  | -                | FLAIR
AX PD/T2 FSE                  | G | fse-xl         | SE    | SK       | -     | 2D | 3000 | 100 | -    | 90  | EchoNumbers=2    | T2
# Philips
T1W_SE                        | P | SE             | SE    | -        | -     | 2D | 500  | 12  | -    | 70  | DiffusionBValue=0| T1
sT1W_SE_GADO                  | P | SE             | SE    | -        | -     | 2D | 550  | 15  | -    | 70  | DiffusionBValue=0| T1CE
sT1W_3D_TFE                   | P | T1TFE          | GR    | MP       | -     | 3D | 8.1  | 3.7 | -    | 8   | -                | T1
-                             | P | T1TFE          | GR    | SK       | -     | 3D | 7.0  | 3.2 | -    | 9   | -                | T1
WIP T1W_3D_TFE Gd             | P | T1TFE          | GR    | MP       | -     | 3D | 8.1  | 3.7 | 900  | 8   | -                | T1CE
T1W_IR_TSE                    | P | TIR            | IR    | SK       | -     | 2D | 3000 | 20  | 800  | 90  | -                | T1
T2W_TSE                       | P | TSE            | SE    | SK       | -     | 2D | 4000 | 80  | -    | 90  | EchoTrainLength=15 | T2
-                             | P | TSE            | SE    | SK       | -     | 2D | 3000 | 100 | -    | 90  | EchoTrainLength=80;PhilipsEPIFactor=1 | T2
3D_Brain_VIEW_T2              | P | TSE            | SE    | SK       | -     | 3D | 2500 | 250 | -    | 90  | -                | T2
FLAIR_longTR                  | P | TIR            | IR    | SK       | -     | 2D | 11000| 125 | 2800 | 90  | -                | FLAIR
-                             | P | TIR            | SE    | SK       | FS    | 2D | 11000| 140 | 2800 | 90  | -                | FLAIR
3D_Brain_VIEW_FLAIR_SAG       | P | TIR            | SE    | SK       | -     | 3D | 4800 | 300 | 1650 | 90  | -                | FLAIR
-                             | P | -              | -     | -        | -     | 3D | 4800 | 280 | 1650 | 40  | EchoPulseSequence=SPIN;AcquisitionContrast=FLUID_ATTENUATED | FLAIR
-                             | P | -              | -     | -        | -     | 2D | 4000 | 100 | -    | 90  | EchoPulseSequence=SPIN;AcquisitionContrast=T2 | T2
# Canon, Toshiba
T1 SE AX                      | T | SE2D           | SE    | NONE     | -     | 2D | 540  | 12  | -    | 90  | -                | T1
MPRAGE                        | C | FE3D           | GR    | SP\\MP   | -     | 3D | 5.8  | 2.5 | 900  | 9   | -                | T1
AX T1 +C                      | T | SE2D           | SE    | NONE     | -     | 2D | 540  | 12  | -    | 90  | -                | T1CE
FSE T2 AX                     | T | FSE2D          | SE    | SK       | -     | 2D | 4300 | 105 | -    | 90  | -                | T2
-                             | T | FSE2D          | SE    | SK       | -     | 2D | 4300 | 105 | -    | 90  | -                | T2
FLAIR AX                      | T | FIR2D          | SE\\IR| SK       | -     | 2D | 10000| 105 | 2700 | 90  | -                | FLAIR
-                             | C | FIR2D          | SE\\IR| SK       | -     | 2D | 10000| 120 | 2500 | 90  | -                | FLAIR
# Hitachi
T1 AX SE                      | H | SE             | SE    | -        | -     | 2D | 450  | 20  | -    | 90  | MagneticFieldStrength=0.3 | T1
T1 SE CE                      | H | SE             | SE    | -        | -     | 2D | 450  | 20  | -    | 90  | MagneticFieldStrength=0.3 | T1CE
3D GEIR                       | H | GEIR           | GR    | -        | -     | 3D | 9.4  | 4.1 | 950  | 8   | MagneticFieldStrength=1.5 | T1
T2 FSE AX                     | H | FSE            | SE    | -        | -     | 2D | 4500 | 110 | -    | 90  | -                | T2
FLAIR AX                      | H | FIR            | SE\\IR| -        | -     | 2D | 9000 | 100 | 2200 | 90  | -                | FLAIR
-                             | H | FIR            | SE\\IR| -        | -     | 2D | 6000 | 100 | 1450 | 90  | MagneticFieldStrength=3000 | FLAIR
# UIH
t1_gre_fsp_3d_sag_iso         | U | gre_fsp        | GR\\IR| SP       | -     | 3D | 7.2  | 3.1 | 750  | 10  | -                | T1
t1_gre_fsp_3d_sag_iso+C       | U | gre_fsp        | GR\\IR| SP       | -     | 3D | 7.2  | 3.1 | 750  | 10  | -                | T1CE
t1_fse_tra_flair              | U | fse            | SE\\IR| SK       | -     | 2D | 2000 | 12  | 800  | 120 | -                | T1
t2_fse_tra                    | U | fse            | SE    | SK       | -     | 2D | 4800 | 110 | -    | 120 | -                | T2
-                             | U | fse_mx         | SE    | SK       | -     | 3D | 2400 | 220 | -    | 60  | -                | T2
t2_fse_tra_flair              | U | fse            | SE\\IR| SK       | -     | 2D | 8500 | 102 | 2400 | 120 | -                | FLAIR
-                             | U | fse_mx         | SE\\IR| SK       | -     | 3D | 6500 | 430 | 2000 | 60  | -                | FLAIR
# Synthetic pictures, each with the times that were asked for
T1W SyMRI                     | Y | -              | SE    | -        | -     | 2D | 650  | 10  | -    | 90  | ImageType=DERIVED\\SECONDARY\\SYNTHETIC | T1
T2W SyMRI                     | Y | -              | SE    | -        | -     | 2D | 4500 | 100 | -    | 90  | ImageType=DERIVED\\SECONDARY\\SYNTHETIC | T2
MAGiC T2 FLAIR                | G | -              | SE\\IR| -        | -     | 2D | 15000| 100 | 3000 | 90  | ImageType=DERIVED\\SECONDARY\\SYNTHETIC | FLAIR
# Times missing or words alone, times removed
AXT1PRE                       | S | -              | -     | -        | -     | -  | -    | -   | -    | -   | -                | T1
AXT1POST                      | S | -              | -     | -        | -     | -  | -    | -   | -    | -   | -                | T1CE
T1post                        | - | -              | -     | -        | -     | -  | -    | -   | -    | -   | -                | T1CE
FLAIRreg                      | - | -              | -     | -        | -     | -  | -    | -   | -    | -   | -                | FLAIR
AXFLAIR                       | S | -              | -     | -        | -     | -  | -    | -   | -    | -   | -                | FLAIR
# Words that are wrong: the times decide
AX T2                         | G | memp           | SE    | NONE     | -     | 2D | 500  | 12  | -    | 90  | -                | T1
AX T1                         | G | fse-xl         | SE    | SK       | -     | 2D | 4000 | 100 | -    | 90  | -                | T2
AX T1                         | S | *tir2d1_21     | SE\\IR| SK       | IR    | 2D | 9000 | 93  | 2500 | 150 | -                | FLAIR
t2_tirm_tra_dark-fluid        | S | *tfl3d1_16ns   | GR\\IR| SK\\SP\\MP| IR   | 3D | 2300 | 2.9 | 900  | 8   | -                | T1
"""  # noqa: E501

# What hospitals and public collections hold beside: other kinds, old scanners, odd texts, stripped headers.
OTHERS = """
MPRAGE                        | S | mpr_ns         | GR\\IR| -        | -     | 3D | 9.7  | 4   | 20   | 10  | -                | T1
IR-SPGR w/acceleration        | G | efgre3d        | GR    | SS\\SP   | -     | 3D | 9    | 4   | 1000 | 8   | -                | T1
SAG SPGR                      | G | -              | GR    | SP       | -     | 3D | 24   | 5   | -    | 45  | -                | T1
B1-Calibration Head           | G | -              | GR    | -        | -     | 3D | 20   | 2.4 | -    | 15  | -                | OTHER
Double TSE                    | S | *tse2d2_7      | SE    | SK       | -     | 2D | 3000 | 11  | -    | 150 | -                | PD
Double TSE                    | S | *tse2d2_7      | SE    | SK       | -     | 2D | 3000 | 101 | -    | 150 | -                | T2
Axial T2 Star                 | S | *fl2d1         | GR    | SP       | -     | 2D | 650  | 20  | -    | 20  | -                | T2STAR
Field_mapping                 | S | *fm2d2         | GR    | SP       | -     | 2D | 571  | 4.9 | -    | 60  | -                | FIELDMAP
GRE B0                        | P | -              | GR    | -        | -     | 2D | 500  | 4.6 | -    | 60  | -                | FIELDMAP
2D GRE-MT                     | S | *fl2d1         | GR    | SP\\MTC  | -     | 2D | 550  | 2.6 | -    | 40  | -                | OTHER
DTI_gated                     | S | *ep_b1000#4    | EP    | SK       | FS    | 2D | 9000 | 88  | -    | 90  | SiemensBValue=1000 | DWI
DTI_gated_FA                  | S | *ep_b1000#4    | EP    | SK       | FS    | 2D | 9000 | 88  | -    | 90  | ImageType=DERIVED\\PRIMARY\\DIFFUSION\\FA | FA
FE_EPI 160                    | P | FEEPI          | GR    | -        | -     | 2D | 3000 | 35  | -    | 90  | PhilipsEPIFactor=39 | -
ep2d_RESTING_STATE            | S | *epfid2d1_68   | EP    | SK       | FS    | 2D | 2400 | 25  | -    | 80  | -                | BOLD
AX PERFUSION                  | G | epi            | EP\\GR| SS       | EPI_GEMS| 2D | 2000 | 30 | -    | 60  | -                | PWI?
nCBFreg                       | - | -              | -     | -        | -     | -  | -    | -   | -    | -   | -                | -
dT1                           | - | -              | -     | -        | -     | -  | -    | -   | -    | -   | -                | OTHER
MaskTumor                     | - | -              | -     | -        | -     | -  | -    | -   | -    | -   | -                | OTHER
AX SUBTRACTION                | G | -              | SE    | -        | -     | 2D | 500  | 12  | -    | 90  | ImageType=DERIVED\\SECONDARY\\SUBTRACT | OTHER
SCREENSAVE                    | G | -              | SE    | -        | -     | 2D | 500  | 12  | -    | 90  | PhotometricInterpretation=RGB;ImageType=DERIVED\\SECONDARY\\SCREEN SAVE | OTHER
Processed Images              | G | -              | EP\\SE| -        | -     | 2D | 8000 | 80  | -    | 90  | PhotometricInterpretation=RGB;ImageType=DERIVED\\SECONDARY | OTHER?
t2_ciss_3d                    | S | *ci3d1r        | GR    | SS       | -     | 3D | 9.3  | 4.2 | -    | 63  | -                | T2
-                             | S | *ci3d1r        | GR    | SS       | -     | 3D | 9.3  | 4.2 | -    | 63  | -                | -
3D FIESTA                     | G | fiesta3d       | GR    | SS       | -     | 3D | 5.5  | 2.2 | -    | 65  | -                | -
AX T2 FLAIR POST              | G | t2flair        | SE\\IR| SK       | -     | 2D | 9000 | 130 | 2250 | 90  | -                | FLAIR
T1 POST OP                    | S | *se2d1         | SE    | -        | -     | 2D | 500  | 12  | -    | 90  | ContrastBolusAgent=GADAVIST | T1
T1 post SRS 3 months          | S | *se2d1         | SE    | -        | -     | 2D | 500  | 12  | -    | 90  | -                | T1
T1 W/WO                       | S | *se2d1         | SE    | -        | -     | 2D | 500  | 12  | -    | 90  | -                | T1
T1 sans injection             | S | *se2d1         | SE    | -        | -     | 2D | 500  | 12  | -    | 90  | -                | T1
T1 après injection            | S | *se2d1         | SE    | -        | -     | 2D | 500  | 12  | -    | 90  | -                | T1CE
T1 GADAVIST 7ML               | S | *se2d1         | SE    | -        | -     | 2D | 500  | 12  | -    | 90  | -                | T1CE
COR STIR                      | S | *tir2d1_9      | SE\\IR| SK       | IR    | 2D | 5000 | 60  | 220  | 150 | -                | OTHER
T2 tse fs                     | P | TSE            | SE    | SK       | FS    | 2D | 4000 | 90  | 130  | 90  | -                | T2
DIR                           | S | *spcirR_208ns  | SE\\IR| SK\\MP   | IR    | 3D | 7500 | 313 | 3000 | 120 | -                | -
TOF_3D_multi-slab             | S | *fl3d1r_t70    | GR    | SP       | TOF   | 3D | 22   | 3.6 | -    | 18  | -                | MRA
-                             | P | PCA            | GR    | -        | -     | 3D | 16   | 5.5 | -    | 10  | -                | MRA
3D SWI                        | H | SG             | GR    | -        | -     | 3D | 50   | 40  | -    | 15  | -                | SWI
FSBB                          | C | FE3D           | GR    | -        | -     | 3D | 29   | 20  | -    | 15  | -                | SWI
ABCD_dMRI_DistortionMap_AP    | S | *epse2d1_140   | EP    | SK       | FS    | 2D | 12400| 89  | -    | 78  | -                | FIELDMAP
DTI 32                        | C | SEEPI2D        | SE\\EP| -        | -     | 2D | 9000 | 80  | -    | 90  | ImageComments=b=1000(0.1,0.2,0.9) | DWI
epi_dwi_tra_b1000             | U | epi_dwi        | EP\\SE| -        | -     | 2D | 4000 | 75  | -    | 90  | UIHBValue=1000   | DWI
-                             | U | epi_dti_b0     | EP\\SE| -        | -     | 2D | 4000 | 75  | -    | 90  | -                | DWI
-                             | G | epi2           | EP\\SE| -        | -     | 2D | 8000 | 80  | -    | 90  | -                | DWI
T2_TurboRARE                  | B | Bruker:RARE    | SE    | -        | -     | 2D | 4000 | 33  | -    | 90  | MagneticFieldStrength=9.4 | T2
-                             | B | Bruker:RARE    | SE    | -        | -     | 2D | 4000 | 33  | -    | 90  | MagneticFieldStrength=9.4 | -
DTI_EPI_30dir                 | B | Bruker:DtiEpi  | SE    | -        | -     | 2D | 3000 | 25  | -    | 90  | -                | DWI
MAGiC                         | G | -              | SE\\IR| -        | -     | 2D | 4000 | 22  | 170  | 90  | -                | OTHER
3 plane loc                   | G | ssfse          | SE    | -        | -     | 2D | 1500 | 90  | -    | 90  | GESeriesPlane=256| LOCALIZER
-                             | G | fgre           | GR    | -        | -     | 2D | 5    | 1.6 | -    | 30  | GESeriesPlane=256| LOCALIZER
AX T1                         | - | -              | SE    | -        | -     | 2D | -    | -   | -    | -   | -                | T1
-                             | - | -              | RM    | -        | -     | 2D | 500  | 12  | -    | 90  | -                | -
-                             | - | -              | -     | -        | -     | -  | 9000 | 120 | 2500 | 90  | -                | FLAIR
NM-MT                         | S | *fl2d1         | GR    | SP\\MTC  | -     | 2D | 600  | 10  | -    | 40  | -                | OTHER
Perfusion_Weighted            | S | *tgse3d1_22080 | EP    | SK       | -     | 3D | 4000 | 20  | -    | 180 | ImageType=DERIVED\\PRIMARY\\ASL\\PERFUSION | ASL
3D ASL (non-contrast)         | G | 3dasl          | RM    | -        | -     | 3D | 4800 | 10.5| 2025 | 111 | -                | ASL
T1 vibe dynamic DCE           | S | *fl3d1         | GR    | SP       | -     | 3D | 6.5  | 2.4 | -    | 15  | -                | PWI
"""  # noqa: E501


#: Series names of PPMI, ADNI, ABCD, TCIA collections and clinics, heard without any header; ``-`` is silence.
DESCRIPTIONS = """
T1: MPRAGE 2 ADNI; sT1W_3D_FFE; SAG FSPGR 3D VOLUMETRIC T1; AX_3D_FSPGR_straight_brain_lab; Ax T1 FLAIR
T1: ABCD_T1w_MPR_vNav_setter; VWIP T1W/3D/TFE_SENSE; T1 TIR Sagittal P3; T1 AX FS PRE; T1 POSTERIOR FOSSA; T1 REST
T1CE: AX T1 SE C+; T1 MPR KM cor; T1W_FFE_CLEAR_+GD; COR T1 FS +C; T1_post_contrast_MPRAGE_AX; Gd-T1; T1C+
T2: t2_tse_tra; AX T2 AC-PC LINE ENTIRE BRAIN; FL:C/OAx T2 PROPELLER; T2 pre op; SAG T2 post contrast; T2 CISS
FLAIR: Cor FLAIR TI_2800ms; 3D T2 FLAIR_ti1650; t2_tirm_tra_dark-fluid NO BLADE; FLAIR_spc_ir_sag_p2_; OAx T2 FLAIR+C
DWI: DTI_gated_TRACEW; 2D DTI EPI FAT SHIFT LEFT; ep2d_diff_LR; WIP_HARDI_60_2_5iso; OAx eDWI b=10
BOLD: ep2d_bold_rest; rsfMRI_LR; BOLD_RS ACPC_LINE; ABCD_fMRI_rest_PMU; ep2d_bold_n-back rev2_repeat
LOCALIZER: 3-pl_T2__FGRE; SURVEY; MIDLINE SAG LOC; AAHScout_MPR_cor; SmartBrain
FIELDMAP: AxialField Mapping; B0_PreScan
OTHER: 2D GRE-NM; DTI_EXP; Cal_Head_24; Exponential Apparent Diffusion Coefficient; qT1 map
ADC: DTI_gated_ADC; Apparent Diffusion Coefficient (mm2/s)
PWI: OAx PWI 50 Phase; rCBV corrected; TTP
SWI: FILT_PHA: OAx SWI; SWIp
MRA: MIP - 3DPCA_DEM_MJD; TOF_3D_multi-slab_MIP_SAG
T2STAR: AXIAL_T2_STAR; T2W_FFE; T2_FFE_haemo
FA: 32CH_v2 DTI_AP_ColFA
ASL: WIP SOURCE - pCASL_SoftSinglePhase
-: 3D SAG; sT2W/PD_TSE; t2 weighted double echo; PD_T2_TSE; CEST_ssfse; 2D CSI-PROBE 35; REPEAT_NON_GATED; AX GRE
-: AX DIFFERENCE; CBF (Transit corrected); MR BRAIN W WO CONTRAST; Head Routine; Series 5
"""


def rows(table):
    """Read a table as (header, label), with a name for each row."""
    for line in table.strip().splitlines():
        if line.startswith("#"):
            continue
        cells = [cell.strip().replace("\\\\", "\\") for cell in line.split("|")]
        description, maker, name, *codes, tr, te, ti, flip, others, label = cells
        header = {"SeriesDescription": description, "Manufacturer": MAKERS.get(maker, "-"),
                  NAMES.get(maker, "SequenceName"): name, **dict(zip(COLUMNS, codes, strict=True))}  # fmt: skip
        header |= {key: float(value) for key, value in zip(TIMES, (tr, te, ti, flip), strict=True) if value != "-"}
        if others != "-":
            header |= dict(pair.split("=", 1) for pair in others.split(";"))
        header = {"kind": "dicom", **{key: value for key, value in header.items() if value != "-"}}
        yield pytest.param(header, label, id=f"{maker} {description} {name} {label}")


def test_there_are_enough_of_the_classic_four():
    labels = [row.values[1] for row in rows(CLASSIC)]
    assert len(labels) >= 60
    assert set(labels) == {"T1", "T1CE", "T2", "FLAIR"}
    assert min(labels.count(label) for label in set(labels)) >= 12


@pytest.mark.parametrize(("header", "label"), [*rows(CLASSIC), *rows(OTHERS)])
def test_label(header, label):
    decision, _ = sequence_from_header(header)
    allowed = {None} if label == "-" else {label.rstrip("?"), *({None} if label.endswith("?") else ())}
    assert decision.value in allowed, decision


@pytest.mark.parametrize(
    ("description", "label"),
    [
        (description.strip(), label)
        for label, descriptions in (line.split(": ", 1) for line in DESCRIPTIONS.strip().splitlines())
        for description in descriptions.split(";")
    ],
)
def test_words_alone(description, label):
    finding = sequence_from_text({"kind": "dicom", "SeriesDescription": description})
    assert finding.value == (None if label == "-" else label), finding
