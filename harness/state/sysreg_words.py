"""What the fields of the ID registers tell, in a few words of our own, and how their numbers are to be read.

Source: Arm Architecture Reference Manual (DDI 0487), D24.1.3 "Principles of the ID scheme for fields in ID registers" and the
pages of the registers.
"""

from __future__ import annotations

# NAME: `FIELD words; ...`. Most fields are unsigned: a higher number has all that a lower one has. `FIELD-` is signed, 0xf is
# -1 and says that it is not there; `FIELD=` is enumerated or a number of its own, higher is not more.
WORDS = {
    "ID_PFR0_EL1": (
        "State0 A32; State1 T32; State2= Jazelle; State3 ThumbEE; CSV2 branch targets kept apart; AMU activity monitors; "
        "DIT data-independent timing; RAS error records and reporting"
    ),
    "ID_PFR1_EL1": (
        "ProgMod Armv4 programmers' model; Security= AArch32 EL3; MProgMod M-profile model; Virtualization AArch32 EL2; "
        "GenTimer generic timer; Sec_frac= parts of EL3 without EL3; Virt_frac parts of EL2 without EL2; GIC GIC CPU "
        "interface by system registers"
    ),
    "ID_PFR2_EL1": "CSV3 no speculative use of faulting data; SSBS store bypass control; RAS_frac minor version of RAS",
    "ID_DFR0_EL1": (
        "CopDbg= debug architecture; CopSDbg= Secure debug architecture; MMapDbg= memory-mapped debug; CopTrc trace by "
        "coprocessor; MMapTrc memory-mapped trace; MProfDbg M-profile debug; PerfMon= PMU version, 0xf for one of its own; "
        "TraceFilt trace filter controls"
    ),
    "ID_DFR1_EL1": "MTPMU- multithreaded PMU counting; HPMN0 no counter for the guest",
    "ID_AFR0_EL1": (
        "IMPDEF0= implementation defined; IMPDEF1= implementation defined; IMPDEF2= implementation defined; IMPDEF3= "
        "implementation defined"
    ),
    "ID_MMFR0_EL1": (
        "VMSA= virtual memory; PMSA= protected memory; OuterShr= Outer Shareable domain; ShareLvl= shareability levels; "
        "TCM= tightly coupled memory; AuxReg= auxiliary registers; FCSE fast context switch; InnerShr= Inner Shareable "
        "domain"
    ),
    "ID_MMFR1_EL1": (
        "L1HvdVA= L1 maintenance by VA, split; L1UniVA= L1 maintenance by VA, unified; L1HvdSW= L1 maintenance by set and "
        "way, split; L1UniSW= L1 maintenance by set and way, unified; L1Hvd= whole L1 maintenance, split; L1Uni= whole L1 "
        "maintenance, unified; L1TstCln= L1 test and clean; BPred= branch predictor maintenance"
    ),
    "ID_MMFR2_EL1": (
        "L1HvdFG= L1 foreground fetch; L1HvdBG= L1 background fetch; L1HvdRng= L1 maintenance by range; HvdTLB= TLB "
        "maintenance, split; UniTLB= TLB maintenance, unified; MemBarr= barriers by coprocessor; WFIStall= stalling at "
        "WFI; HWAccFlg= hardware Access flag"
    ),
    "ID_MMFR3_EL1": (
        "CMaintVA= cache maintenance by VA; CMaintSW= cache maintenance by set and way; BPMaint= branch predictor "
        "maintenance; MaintBcst= reach of maintenance; PAN privileged access never; CohWalk= table walks see the cache; "
        "CMemSz= size of memory behind the cache; Supersec- 16 MB pages"
    ),
    "ID_MMFR4_EL1": (
        "SpecSEI SError from speculation; AC2 ACTLR2 and HACTLR2; XNX EL0/EL1 execute control; CnP common not private "
        "tables; HPDS hierarchical permissions can be off; LSM load and store multiple controls; CCIDX long cache "
        "descriptions; EVT more EL2 traps"
    ),
    "ID_MMFR5_EL1": "ETS translation order; nTLBPA no caching of past walks",
    "ID_ISAR0_EL1": (
        "Swap SWP; BitCount CLZ; BitField bit fields; CmpBranch CBZ and CBNZ; Coproc= coprocessor instructions; Debug "
        "BKPT; Divide= division"
    ),
    "ID_ISAR1_EL1": (
        "Endian SETEND; Except exception instructions; Except_AR A-profile exception instructions; Extend extension; "
        "IfThen IT; Immediate long immediates; Interwork interworking; Jazelle Jazelle"
    ),
    "ID_ISAR2_EL1": (
        "LoadStore load and store; MemHint= prefetch hints; MultiAccessInt= interrupted load and store multiple; Mult "
        "multiplication; MultS signed multiplication; MultU unsigned multiplication; PSR_AR PSR access; Reversal reversal"
    ),
    "ID_ISAR3_EL1": (
        "Saturate saturation; SIMD SIMD in general registers; SVC SVC; SynchPrim= exclusives; TabBranch TBB and TBH; "
        "T32Copy T32 MOV; TrueNOP true NOP; T32EE ThumbEE"
    ),
    "ID_ISAR4_EL1": (
        "Unpriv= unprivileged access; WithShifts= shifted operands; Writeback writeback addressing; SMC SMC; Barrier "
        "barriers; SynchPrim_frac= more exclusives; PSR_M M-profile PSR access; SWP_frac= SWP on the bus"
    ),
    "ID_ISAR5_EL1": "SEVL SEVL; AES AES; SHA1 SHA-1; SHA2 SHA-256; CRC32 CRC32; RDM rounding multiply; VCMA complex numbers",
    "ID_ISAR6_EL1": (
        "JSCVT JavaScript conversion; DP dot product; FHM half-precision multiply; SB speculation barrier; SPECRES "
        "prediction invalidation; BF16 bfloat16; I8MM 8-bit matrices; CLRBHB branch history clearing"
    ),
    "MVFR0_EL1": (
        "SIMDReg= SIMD registers; FPSP single precision; FPDP double precision; FPTrap floating-point traps; FPDivide "
        "division; FPSqrt square root; FPShVec short vectors; FPRound all rounding modes"
    ),
    "MVFR1_EL1": (
        "FPFtZ denormals; FPDNaN NaN propagation; SIMDLS SIMD load and store; SIMDInt SIMD integers; SIMDSP SIMD single "
        "precision; SIMDHP SIMD half precision; FPHP half precision; SIMDFMAC fused multiply"
    ),
    "MVFR2_EL1": "SIMDMisc SIMD rounding, minimum, maximum; FPMisc selection, rounding, minimum, maximum",
    "ID_AA64PFR0_EL1": (
        "EL0= EL0, 2 with AArch32; EL1= EL1, 2 with AArch32; EL2= EL2, 2 with AArch32; EL3= EL3, 2 with AArch32; FP- "
        "floating point, -1 for none; AdvSIMD- Advanced SIMD, -1 for none; GIC GIC CPU interface by system registers; RAS "
        "error records and reporting; SVE scalable vectors; SEL2 Secure EL2; MPAM major version of MPAM; AMU activity "
        "monitors; DIT data-independent timing; RME realms; CSV2 branch targets kept apart; CSV3 no speculative use of "
        "faulting data"
    ),
    "ID_AA64PFR1_EL1": (
        "BT branch target identification; SSBS store bypass control; MTE memory tagging; RAS_frac minor version of RAS; "
        "MPAM_frac minor version of MPAM; SME scalable matrices; RNDR_trap random number trap; CSV2_frac minor version of "
        "CSV2; NMI non-maskable interrupts; MTE_frac- asynchronous tag faults, -1 for none; GCS guarded control stack; THE "
        "translation hardening; MTEX canonical and no-address tagging; DF2 double fault handling; PFAR fault's physical "
        "address"
    ),
    "ID_AA64PFR2_EL1": (
        "MTEPERM tagging by stage 2 permission; MTESTOREONLY tag checks of stores only; MTEFAR full address at tag faults; "
        "GCIE GICv5 CPU interface; UINJ injected Undefined exceptions; FPMR 8-bit floating-point mode"
    ),
    "ID_AA64ZFR0_EL1": (
        "SVEver SVE version; AES SVE AES; EltPerm SVE element permutation; BitPerm SVE bit permutation; BF16 SVE bfloat16; "
        "B16B16 SVE non-widening bfloat16; SHA3 SVE SHA-3; SM4 SVE SM4; I8MM SVE 8-bit matrices; F16MM SVE half-precision "
        "matrices; F32MM SVE single-precision matrices; F64MM SVE double-precision matrices"
    ),
    "ID_AA64SMFR0_EL1": (
        "SMOP4 quarter-tile products; STMOP structured sparse products; SFEXPA streaming exponentials; AES streaming AES; "
        "SBitPerm streaming bit permutation; SF8DP2 streaming 8-bit two-way dot product; SF8DP4 streaming 8-bit four-way "
        "dot product; SF8FMA streaming 8-bit multiply; F32F32 single-precision products; BI32I32 one-bit products; B16F32 "
        "bfloat16 products; F16F32 half-precision products; I8I32 8-bit products; F8F32 8-bit into single precision; F8F16 "
        "8-bit into half precision; F16F16 non-widening half precision; B16B16 non-widening bfloat16; I16I32 16-bit "
        "products; F64F64 double-precision products; I16I64 16-bit into 64-bit products; SMEver SME version; LUTv2 table "
        "lookup, second version; LUT6 table lookup of 6 bits; FA64 all of A64 in streaming mode"
    ),
    "ID_AA64FPFR0_EL1": (
        "F8E5M2 8-bit format E5M2; F8E4M3 8-bit format E4M3; F16MM2 half-precision matrices; F8MM4 8-bit matrices into "
        "half precision; F8MM8 8-bit matrices into single precision; F8DP2 8-bit two-way dot product; F8DP4 8-bit four-way "
        "dot product; F8FMA 8-bit multiply; F8CVT 8-bit conversion"
    ),
    "ID_AA64DFR0_EL1": (
        "DebugVer debug architecture; TraceVer trace by system registers; PMUVer= PMU version, 0xf for one of its own; "
        "BRPs= breakpoints, less one; PMSS PMU snapshots; WRPs= watchpoints, less one; SEBEP synchronous exceptions of the "
        "PMU; CTX_CMPs= context-aware breakpoints, less one; PMSVer statistical profiling; DoubleLock- OS double lock, -1 "
        "for none; TraceFilt trace filter controls; TraceBuffer trace buffer; MTPMU- multithreaded PMU counting, -1 for "
        "none; BRBE branch records; ExtTrcBuff external trace buffer; HPMN0 no counter for the guest"
    ),
    "ID_AA64DFR1_EL1": (
        "SYSPMUID= system PMUs; BRPs= breakpoints, less one; WRPs= watchpoints, less one; CTX_CMPs= context-aware "
        "breakpoints, less one; SPMU system PMU; PMICNTR instruction counter; ABLE linking of address breakpoints; ITE "
        "instrumentation trace; EBEP exceptions of the PMU; DPFZS freezing of the cycle counter; ABL_CMPs= linking "
        "breakpoints, less one"
    ),
    "ID_AA64DFR2_EL1": (
        "STEP enhanced software step; BWE enhanced breakpoints and watchpoints; SPE_EXC profiling exceptions; SPE_nVM "
        "profiling by physical address; TRBE_EXC trace buffer exceptions"
    ),
    "ID_AA64AFR0_EL1": "; ".join(f"IMPDEF{n}= implementation defined" for n in range(8)),
    "ID_AA64ISAR0_EL1": (
        "AES AES; SHA1 SHA-1; SHA2 SHA-256 and SHA-512; CRC32 CRC32; Atomic atomic memory operations; TME transactional "
        "memory; RDM rounding multiply; SHA3 SHA-3; SM3 SM3; SM4 SM4; DP dot product; FHM half-precision multiply; TS flag "
        "manipulation; TLB TLB maintenance by range and Outer Shareable; RNDR random numbers"
    ),
    "ID_AA64ISAR1_EL1": (
        "DPB cleaning to persistence; APA address authentication, QARMA5; API address authentication, own algorithm; JSCVT "
        "JavaScript conversion; FCMA complex numbers; LRCPC release-consistent loads; GPA generic authentication, QARMA5; "
        "GPI generic authentication, own algorithm; FRINTTS rounding to integer sizes; SB speculation barrier; SPECRES "
        "prediction invalidation; BF16 bfloat16; DGH data gathering hint; I8MM 8-bit matrices; XS XS attribute; LS64 "
        "64-byte accesses"
    ),
    "ID_AA64ISAR2_EL1": (
        "WFxT WFE and WFI with timeout; RPRES 12-bit reciprocal estimates; GPA3 generic authentication, QARMA3; APA3 "
        "address authentication, QARMA3; MOPS memory copy and set; BC hinted branches; PAC_frac authentication code of "
        "constant size; CLRBHB branch history clearing; SYSREG_128 128-bit system registers; SYSINSTR_128 128-bit system "
        "instructions; PRFMSLC prefetch to the system cache; PCDPHINT producer and consumer hints; RPRFM range prefetch; "
        "CSSC common short sequences; LUT table lookup; ATS1A address translation without permissions"
    ),
    "ID_AA64ISAR3_EL1": (
        "CPA checked pointer arithmetic; FAMINMAX absolute minimum and maximum; TLBIW TLB maintenance of dirty state; PACM "
        "authentication with the PC; LSFE atomic floating point; OCCMO outer cacheable maintenance; LSUI unprivileged "
        "atomics; FPRCVT conversion between register files"
    ),
    "ID_AA64MMFR0_EL1": (
        "PARange= physical address size; ASIDBits= ASID size; BigEnd mixed endianness; SNSMem Secure memory kept apart; "
        "BigEndEL0 mixed endianness at EL0; TGran16 16 KB granule; TGran64- 64 KB granule, -1 for none; TGran4- 4 KB "
        "granule, -1 for none; TGran16_2= 16 KB granule at stage 2; TGran64_2= 64 KB granule at stage 2; TGran4_2= 4 KB "
        "granule at stage 2; ExS context synchronisation control; FGT fine-grained "
        "traps; ECV enhanced counter virtualisation"
    ),
    "ID_AA64MMFR1_EL1": (
        "HAFDBS hardware Access flag and dirty state; VMIDBits= VMID size; VH virtualisation host extensions; HPDS "
        "hierarchical permissions can be off; LO limited ordering regions; PAN privileged access never; SpecSEI SError "
        "from speculation; XNX EL0/EL1 execute control; TWED delayed WFE trap; ETS translation order; HCX HCRX_EL2; AFP "
        "alternate floating point; nTLBPA no caching of past walks; TIDCP1 EL0 trap of implementation defined registers; "
        "CMOW cache maintenance needs write permission; ECBHB branch history kept apart"
    ),
    "ID_AA64MMFR2_EL1": (
        "CnP common not private tables; UAO user access override; LSM load and store multiple controls; IESB error "
        "synchronisation at exceptions; VARange virtual address size; CCIDX long cache descriptions; NV nested "
        "virtualisation; ST small translation tables; AT unaligned single-copy atomicity; IDS trapped ID registers report "
        "a syndrome; FWB stage 2 forced write-back; TTL translation level hint; BBM break-before-make level; EVT more EL2 "
        "traps; E0PD EL0 kept from half of the addresses"
    ),
    "ID_AA64MMFR3_EL1": (
        "TCRX TCR2 registers; SCTLRX SCTLR2 registers; S1PIE stage 1 permission indirection; S2PIE stage 2 permission "
        "indirection; S1POE stage 1 permission overlay; S2POE stage 2 permission overlay; AIE attribute indirection; MEC "
        "memory encryption contexts; D128 128-bit stage 1 descriptors; D128_2 128-bit stage 2 descriptors; SNERR "
        "synchronous Normal read errors; ANERR asynchronous Normal read errors; SDERR synchronous Device read errors; "
        "ADERR asynchronous Device read errors; Spec_FPACC= speculation past failed authentication"
    ),
    "ID_AA64MMFR4_EL1": (
        "PoPS point of physical storage; EIESB= early error synchronisation; ASID2 two ASIDs at once; HACDBS hardware "
        "dirty state cleaner; FGWTE3 EL3 write traps; NV_frac nested virtualisation, fraction; E2H0- EL2 without E2H, -1 "
        "for none; RMEGDI granular data isolation; E3DSE delegated SError of EL3; TLBID "
        "TLB maintenance by domain; SRMASK masks of control registers"
    ),
    "CTR_EL0": (
        "IminLine= smallest instruction line; L1Ip= instruction cache policy; DminLine= smallest data line; ERG= "
        "reservation granule; CWG= write-back granule; IDC no cleaning for instruction coherence; DIC no invalidation for "
        "instruction coherence; TminLine= smallest tag line"
    ),
    "DCZID_EL0": "BS= zeroing block size; DZP= zeroing prohibited",
    "GMID_EL1": "BS= tag block size",
}
