"""More of the stand-in org's objects, noted as in `sandbox_objects`: consent, the platform's, custom, managed ones."""

from __future__ import annotations

CONSENT = """
AuthorizationFormConsent 0cK CUDQBSO
  Name string 255 required
  ConsentGiverId > Contact.AuthorizationFormConsents r, Account.AuthorizationFormConsents r,
    Individual.AuthorizationFormConsents r
  Status picklist 40
CommSubscriptionConsent 0dY CUDQBSO
  Name string 255 required
  ConsentGiverId > Contact.CommSubscriptionConsents r, Account.CommSubscriptionConsents r,
    Individual.CommSubscriptionConsents r
  ContactPointId > ContactPointEmail.CommSubscriptionConsents, ContactPointPhone.CommSubscriptionConsents
ContactPointEmail 9Vl CUDQBSO
  ParentId > Account.ContactPointEmails c, Individual.ContactPointEmails c
  EmailAddress email required
ContactPointPhone 0Ow CUDQBSO
  ParentId > Account.ContactPointPhones c, Individual.ContactPointPhones c
  TelephoneNumber phone required
ContactPointConsent 0ZX CUDQBSO
  Name string 255 required
  ContactPointId > ContactPointEmail.ContactPointConsents c, ContactPointPhone.ContactPointConsents c
  PrivacyConsentStatus picklist 40 restricted=NotSeen|Seen|OptIn|OptOut
ContactPointTypeConsent 0ZY CUDQBSO
  Name string 255 required
  PartyId > Individual.ContactPointTypeConsents c
  ContactPointType picklist 40
  PrivacyConsentStatus picklist 40 restricted=NotSeen|Seen|OptIn|OptOut
"""

SYSTEM = """
ContactHistory - Q
  ContactId > Contact.Histories c
  Field picklist 255
  OldValue string 255 nofilter
  NewValue string 255 nofilter
ContactShare 03s Q
  ContactId > Contact.Shares c
  UserOrGroupId > User c
LeadHistory - Q
  LeadId > Lead.Histories c
  Field picklist 255
  OldValue string 255 nofilter
  NewValue string 255 nofilter
IndividualHistory - Q
  IndividualId > Individual.Histories c
  Field picklist 255
  OldValue string 255 nofilter
  NewValue string 255 nofilter
ProcessInstance 04g Q
  TargetObjectId > Account.ProcessInstances c, Case.ProcessInstances c, Contact.ProcessInstances c,
    Lead.ProcessInstances c, Opportunity.ProcessInstances c, Order.ProcessInstances c
  Status picklist 40
TopicAssignment 0FT CDQ
  EntityId > Account.TopicAssignments c, Case.TopicAssignments c, Contact.TopicAssignments c,
    Lead.TopicAssignments c, Opportunity.TopicAssignments c, Task.TopicAssignments c, Event.TopicAssignments c
DuplicateRecordSet 0GK CUDQB
  Name string 80 readonly
DuplicateRecordItem 0GL CUDQB
  DuplicateRecordSetId > DuplicateRecordSet.DuplicateRecordItems c
  RecordId > Account.DuplicateRecordItems c, Contact.DuplicateRecordItems c, Lead.DuplicateRecordItems c,
    Individual.DuplicateRecordItems c
OutgoingEmail 0Q1 CQ
  WhoId > Contact, Lead
  RelatedToId > Account, Opportunity, Contract, Order
ContactChangeEvent - -
  AccountId > Account
  ReportsToId > Contact
ActivityHistory - -
  WhoId > Contact.ActivityHistories c, Lead.ActivityHistories c
  WhatId > Case.ActivityHistories c
OpenActivity - -
  WhoId > Contact.OpenActivities c, Lead.OpenActivities c
  WhatId > Case.OpenActivities c
CombinedAttachment - -
  ParentId > Contact.CombinedAttachments c, Case.CombinedAttachments c, Lead.CombinedAttachments c
NoteAndAttachment - -
  ParentId > Contact.NotesAndAttachments c, Lead.NotesAndAttachments c
AttachedContentDocument - -
  LinkedEntityId > Contact.AttachedContentDocuments c, Case.AttachedContentDocuments c
"""

# Loyalty: the org's own. acme: a managed package, with a restricting relation and an unnamed one.
CUSTOM = """
Loyalty_Card__c a00 CUDQBSO
  Name string 80 required
  Contact__c > Contact.Loyalty_Cards__r
  Card_Number__c string 40 extid
  Holder_Email__c email
Loyalty_Entry__c a01 CUDQB
  Name string 80 required
  Card__c > Loyalty_Card__c.Entries__r c
  Remark__c textarea 255
acme__Pledge__c a02 CUDQBSO
  Name string 80 required
  acme__Donor__c > Contact.acme__Pledges__r r
  acme__Remark__c string 255
acme__Pledge_Line__c a03 CUDQB
  Name string 80 required
  acme__Pledge__c > acme__Pledge__c.acme__Lines__r c
acme__Audit__c a04 CUDQB
  Name string 80 required
  acme__Person__c > Contact
  acme__Note__c string 255
"""
